"""Encoders that the papers' authors published: found, checked name by name and shape by shape, and loaded.

A file is recognised by its contents, nothing in it is run, and what does not fit exactly is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sslbook import checkpoint, download
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import features_dim, resnet50
from sslbook.methods.mae import MAE
from sslbook.vit import IMAGENET, ViT, resize_positions

BASE = "https://dl.fbaipublicfiles.com/"
CC_BY_NC = "CC BY-NC 4.0"  # no commercial use

# Shapes tell all of a ViT but its heads: 64 features each, except for ViT-H (80) and MoCo v3's ViT-S (32).
VITS = {
    "ViT-S/16": dict(patch=16, dim=384, depth=12, heads=6),
    "ViT-S/8": dict(patch=8, dim=384, depth=12, heads=6),
    "ViT-B/16": dict(patch=16, dim=768, depth=12, heads=12),
    "ViT-B/8": dict(patch=8, dim=768, depth=12, heads=12),
    "ViT-L/16": dict(patch=16, dim=1024, depth=24, heads=16),
    "ViT-H/14": dict(patch=14, dim=1280, depth=32, heads=16),
}


@dataclass(frozen=True)
class Official:
    """Published weights. No mirror of them is known, and of most no md5: then names and shapes are the check."""

    path: str
    architecture: str
    licence: str  # of the authors' repository, in 2026
    md5: str = "*"  # as far as the authors tell it

    @property
    def urls(self) -> tuple[str, ...]:
        return (BASE + self.path,)


# MAE's three families are the encoder alone, "-full" with a decoder of normalised pixels, "-visualize" with one of
# plain pixels: facebookresearch/mae, README, issues #8 and #3. All other files: the README of the authors' repository.
OFFICIAL = {
    "mae-vit-base": Official("mae/pretrain/mae_pretrain_vit_base.pth", "ViT-B/16", CC_BY_NC, "8cad7c*"),
    "mae-vit-large": Official("mae/pretrain/mae_pretrain_vit_large.pth", "ViT-L/16", CC_BY_NC, "b8b06e*"),
    "mae-vit-huge": Official("mae/pretrain/mae_pretrain_vit_huge.pth", "ViT-H/14", CC_BY_NC, "9bdbb0*"),
    "mae-vit-base-full": Official("mae/pretrain/mae_pretrain_vit_base_full.pth", "ViT-B/16", CC_BY_NC),
    "mae-vit-large-full": Official("mae/pretrain/mae_pretrain_vit_large_full.pth", "ViT-L/16", CC_BY_NC),
    "mae-vit-huge-full": Official("mae/pretrain/mae_pretrain_vit_huge_full.pth", "ViT-H/14", CC_BY_NC),
    "mae-vit-base-visualize": Official("mae/visualize/mae_visualize_vit_base.pth", "ViT-B/16", CC_BY_NC),
    "mae-vit-large-visualize": Official("mae/visualize/mae_visualize_vit_large.pth", "ViT-L/16", CC_BY_NC),
    "mae-vit-huge-visualize": Official("mae/visualize/mae_visualize_vit_huge.pth", "ViT-H/14", CC_BY_NC),
    **{
        f"moco-{run}": Official(f"moco/moco_checkpoints/{path}/{path}_pretrain.pth.tar", "ResNet-50", "MIT", md5)
        for run, path, md5 in (  # under CC BY-NC until 2023
            ("v1-200ep", "moco_v1_200ep", "b251726a*"),
            ("v2-200ep", "moco_v2_200ep", "59fd9945*"),
            ("v2-800ep", "moco_v2_800ep", "a04e12f8*"),
        )
    },
    **{
        f"moco-v3-{run}": Official(f"moco-v3/r-50-{run}/r-50-{run}.pth.tar", "ResNet-50", CC_BY_NC)
        for run in ("100ep", "300ep", "1000ep")
    },
    **{
        f"simsiam-{run}": Official(f"simsiam/models/{run}/pretrain/checkpoint_0099.pth.tar", "ResNet-50", CC_BY_NC)
        for run in ("100ep", "100ep-256bs")
    },
    **{
        name: Official(f"deepcluster/{path}_pretrain.pth.tar", "ResNet-50", CC_BY_NC)
        for name, path in (
            ("swav-100ep", "swav_100ep"),
            ("swav-200ep", "swav_200ep"),
            ("swav-400ep", "swav_400ep"),
            ("swav-800ep", "swav_800ep"),
            ("swav-200ep-256bs", "swav_200ep_bs256"),
            ("swav-400ep-256bs", "swav_400ep_bs256"),
            ("swav-400ep-2x224", "swav_400ep_2x224"),  # without multi-crop
            ("deepcluster-v2-400ep", "deepclusterv2_400ep"),
            ("deepcluster-v2-800ep", "deepclusterv2_800ep"),
            ("deepcluster-v2-400ep-2x224", "deepclusterv2_400ep_2x224"),
        )
    },
    **{
        f"dino-{name}": Official(f"dino/{path}_pretrain/{path}_pretrain.pth", architecture, "Apache 2.0")
        for name, path, architecture in (
            ("vit-small-16", "dino_deitsmall16", "ViT-S/16"),
            ("vit-small-8", "dino_deitsmall8", "ViT-S/8"),
            ("vit-base-16", "dino_vitbase16", "ViT-B/16"),
            ("vit-base-8", "dino_vitbase8", "ViT-B/8"),
            ("resnet50", "dino_resnet50", "ResNet-50"),
        )
    },
    "barlow-twins": Official("barlowtwins/ljng/resnet50.pth", "ResNet-50", "MIT"),
    "vicreg": Official("vicreg/resnet50.pth", "ResNet-50", "MIT"),
}

FAMILIES = (
    "Of MAE there are three families: mae_pretrain_vit_*.pth is the encoder alone, mae_pretrain_vit_*_full.pth has a "
    "decoder of normalised pixels ('mae-vit-base-full'), mae_visualize_vit_*.pth one of pixels "
    "('mae-vit-base-visualize')"
)
WRAPPERS = ("state_dict", "model", "target_encoder", "teacher", "encoder")  # the first one there holds the weights
PREFIXES = ("encoder_q.", "base_encoder.", "encoder.", "backbone.")  # and one of these the encoder's
IGNORED = ("fc.", "head.", "encoder_k.", "momentum_encoder.", "queue", "predictor.", "projector.", "projection_head.")
IGNORED += ("prototypes.", "bn.", "mask_token", "decoder_")  # bn: Barlow Twins' last norm
ADVICE = "Take a file of sslbook.official.OFFICIAL as its authors published it; a damaged one is to be deleted first."
# Settings and step sizes that full checkpoints also hold. See `_NotWeights`.
NOT_WEIGHTS = ("argparse.Namespace", "pathlib.PosixPath", "pathlib._local.PosixPath", "numpy.dtype")
NOT_WEIGHTS += ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


def load_official(
    name_or_path: str | os.PathLike,
    *,
    size: int | None = None,
    heads: int | None = None,
    root: str | os.PathLike | None = None,
    show_progress: bool = True,
) -> nn.Module:
    """The encoder of a paper, by its name in `OFFICIAL` or from a file: images (n, 3, H, W) in [0, 1] to features.

    >>> encoder = load_official("moco-v2-800ep")
    >>> features = evaluate.embed(encoder, images)  # (n, 2048)

    ResNet-50s take any size, 224 px is what they know; ViTs give the CLS token. In eval mode, with `features_dim`, and
    with `ignored`, the names of what the file also holds: projectors, queues, decoders. Many of these weights may not
    be used commercially: `OFFICIAL[name].licence`.

    Args:
        size: side of the images in pixels, for a ViT: its positions are interpolated. By default as in training.
        heads: of a ViT that is none of `VITS`.
        root: where downloads are kept, in `official/`; else $SSLBOOK_DATA, else ~/.cache/sslbook.

    Raises:
        CheckpointError: the file is damaged, of another layout or another network, or would run code.
        download.DownloadError: it can't be downloaded.
        ValueError: an unknown name, or a `size` or `heads` that does not fit.
    """
    path, official = _find(name_or_path, root, show_progress)
    weights, rest = _read(path)
    kind, encoder = _encoder(path, official, weights, rest, heads)
    _fill(encoder, weights, path, kind)
    if isinstance(encoder, ViT):
        _resize(encoder, size or encoder.size)
    else:  # SwAV and DeepCluster-v2, which have prototypes, took .228 for red
        red = 0.228 if any(name.startswith("prototypes.") for name in rest) else 0.229
        encoder = Normalized(encoder, IMAGENET["mean"], (red, *IMAGENET["std"][1:]))
    encoder.ignored = list(rest)
    return encoder.eval()


def load_official_mae(
    name_or_path: str | os.PathLike,
    *,
    norm_pix_loss: bool | None = None,
    heads: int | None = None,
    decoder_heads: int = 16,
    root: str | os.PathLike | None = None,
    show_progress: bool = True,
) -> MAE:
    """An MAE with its decoder, to reconstruct images or to go on training: "mae-vit-base-visualize", or a file.

    `norm_pix_loss` says whether the decoder predicts normalised pixels. The authors' file names tell ("_full": yes,
    "visualize": no); for another name it has to be given. All else is as for `load_official`.
    """
    path, official = _find(name_or_path, root, show_progress)
    weights, rest = _read(path)
    decoder = {name: x for name, x in rest.items() if name.startswith(("mask_token", "decoder_"))}
    if "mask_token" not in decoder or not decoder["mask_token"].ndim:
        raise CheckpointError(f"{path} has no decoder. {FAMILIES}.")
    if norm_pix_loss is None:
        full, visualize = path.stem.endswith("full"), "visualize" in path.stem
        if full == visualize:
            raise ValueError(f"does the decoder of {path} predict normalised pixels? Give norm_pix_loss. {FAMILIES}.")
        norm_pix_loss = full
    kind, encoder = _encoder(path, official, weights, rest, heads)
    dim, depth = decoder["mask_token"].shape[-1], _depth(decoder, "decoder_blocks.")
    with torch.device("meta"):
        decoder_shape = dict(decoder_dim=dim, decoder_depth=depth, decoder_heads=decoder_heads)
        mae = MAE(encoder, norm_pix_loss=norm_pix_loss, **decoder_shape)
    _fill(mae, {f"encoder.{name}": x for name, x in weights.items()} | decoder, path, f"MAE with a {kind}")
    return mae.eval()


class Normalized(nn.Module):
    """An encoder behind (x - mean) / std for each colour: images (n, 3, H, W) in [0, 1] to its features."""

    def __init__(self, encoder: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.encoder = encoder
        self.features_dim = features_dim(encoder)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder((images - self.mean) / self.std)


def _resize(encoder: ViT, size: int) -> None:
    if size < encoder.patch or size % encoder.patch:
        raise ValueError(f"size must be a multiple of the ViT's patch, {encoder.patch}, got {size}")
    encoder.pos_embed.data = resize_positions(encoder.pos_embed.data, size // encoder.patch)
    encoder.size = size


def _find(
    name_or_path: str | os.PathLike, root: str | os.PathLike | None, show_progress: bool
) -> tuple[Path, Official | None]:
    official = OFFICIAL.get(str(name_or_path))
    if official:
        # by our name: two of the authors' are called resnet50.pth
        path = download.cache(root) / "official" / f"{name_or_path}.pth"
        download.fetch(official.urls, path, official.md5, show_progress=show_progress)
        return path, official
    path = Path(name_or_path).expanduser()
    if not path.exists():
        raise ValueError(f"{name_or_path!s} is neither a file nor one of {', '.join(OFFICIAL)}")
    return path, None


class _NotWeights:
    """Stands for whatever a checkpoint holds beside weights; made from anything, holding nothing.

    Full checkpoints also keep the command line (an argparse.Namespace) and learning rates (numpy's numbers), which
    PyTorch's safe reader refuses. Read with their names pointing here, none of their own code runs.
    """

    def __new__(cls, *args: object) -> _NotWeights:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _open(path: Path) -> dict:
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(100).lstrip().startswith(b"<"):
                raise CheckpointError(f"{path} is a web page, not a checkpoint: {ADVICE}")
    with torch.serialization.safe_globals([(_NotWeights, name) for name in NOT_WEIGHTS]):
        return checkpoint.load(path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's weights by their own names, and, by the names in the file, those of parts that go with encoders."""
    state = _open(path)
    state = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), state)
    if not state or not all(isinstance(name, str) and isinstance(x, Tensor) for name, x in state.items()):
        found = ", ".join(map(str, state)) or "nothing"
        raise CheckpointError(
            f"{path} holds {found}: expected are names and tensors, or these as one of {', '.join(WRAPPERS)}. {ADVICE}"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): x for name, x in state.items()}
    prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in state)), "")
    weights, rest = {}, {}
    for name, x in state.items():
        own = name.removeprefix(prefix)
        if own.startswith(IGNORED):
            rest[name] = x
        elif name.startswith(prefix):
            weights[own] = x
        else:
            raise CheckpointError(f"{path} has {prefix}* and beside it {name}, which no layout has. {ADVICE}")
    return weights, rest


def _encoder(
    path: Path, official: Official | None, weights: dict, rest: dict, heads: int | None
) -> tuple[str, nn.Module]:
    """What these weights belong to, and the network: on the "meta" device it takes no memory and no random numbers."""
    shape, size = {}, 0
    if "patch_embed.proj.weight" in weights:
        patches, positions = weights["patch_embed.proj.weight"], weights.get("pos_embed")
        if positions is None or (patches.ndim, positions.ndim) != (4, 3):
            raise CheckpointError(f"{path} holds a ViT without pos_embed (1, 1 + patches, dim). {ADVICE}")
        shape = dict(patch=patches.shape[3], dim=positions.shape[2], depth=_depth(weights, "blocks."))
        size = shape["patch"] * math.isqrt(max(1, positions.shape[1] - 1))
        unknown = "ViT with " + ", ".join(f"{name} {n}" for name, n in shape.items())
        kind = next((name for name, vit in VITS.items() if shape.items() <= vit.items()), unknown)
        if any(name.startswith("momentum_encoder.") for name in rest):
            heads = heads or 12  # MoCo v3
    elif "conv1.weight" in weights:
        kind = "ResNet-50"
    else:
        raise CheckpointError(f"{path} holds neither a ResNet-50 nor a ViT but {_some(list(weights))}. {ADVICE}")
    if official and kind != official.architecture:
        raise CheckpointError(f"{path} holds a {kind}, expected is a {official.architecture}. {ADVICE}")
    if shape and not heads:
        if kind not in VITS:
            raise ValueError(f"{path} holds a {kind}, whose heads its shapes can't tell: give heads=")
        heads = VITS[kind]["heads"]
    with torch.device("meta"):
        return kind, ViT(size, **shape, heads=heads, **IMAGENET) if shape else resnet50()


def _depth(weights: dict[str, Tensor], blocks: str) -> int:
    return len({name.removeprefix(blocks).split(".")[0] for name in weights if name.startswith(blocks)})


def _fill(network: nn.Module, weights: dict[str, Tensor], path: Path, kind: str) -> None:
    """Give these weights to a network on the meta device, if they are exactly its own."""
    own = network.state_dict()
    shapes = [(name, tuple(weights[name].shape), tuple(own[name].shape)) for name in own if name in weights]
    wrong = {
        "missing": [name for name in own if name not in weights],
        "unknown": [name for name in weights if name not in own],
        "of another shape": [f"{name} {found}, expected {shape}" for name, found, shape in shapes if found != shape],
    }
    if any(wrong.values()):
        counts = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in wrong.items() if names)
        raise CheckpointError(f"{path} does not fit a {kind}: {counts}. {ADVICE}")
    odd = [name for name, x in weights.items() if not x.isfinite().all()]
    if odd:
        raise CheckpointError(f"{path} holds NaN or infinite weights: {_some(odd)}. {ADVICE}")
    network.load_state_dict({name: x.to(own[name].dtype).contiguous() for name, x in weights.items()}, assign=True)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}, …" if len(names) > 3 else shown
