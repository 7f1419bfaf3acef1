"""Files in every layout of the authors, made here with their names and shapes, and what can be wrong with a file."""

import argparse
import hashlib
import os
import pathlib
import pickle
import re
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from test_checkpoint import Payload
from torchvision.models import resnet
from torchvision.transforms.functional import normalize

from sslbook import checkpoint, evaluate, official
from sslbook.checkpoint import CheckpointError
from sslbook.download import DownloadError
from sslbook.official import OFFICIAL, VITS, load_official, load_official_mae
from sslbook.vit import IMAGENET, ViT, resize_positions

GOLDEN = {k: torch.from_numpy(x) for k, x in np.load(Path(__file__).parent / "golden" / "05_mae.npz").items()}
MAE = {name.removeprefix("state."): x for name, x in GOLDEN.items() if name.startswith("state.")}
DECODER = {name: x for name, x in MAE.items() if name.startswith(("mask_token", "decoder_"))}
VIT = {name: x for name, x in MAE.items() if name not in DECODER}  # 32 px, patches of 4 px, dim 48, 2 blocks, 3 heads
SETTINGS = dict(  # what full checkpoints hold beside weights
    epoch=3,
    args=argparse.Namespace(arch="vit_small", output_dir=pathlib.Path("/checkpoint/dino"), lr=0.1),
    optimizer=dict(state={}, param_groups=[dict(lr=np.float64(0.1), weight_decay=np.float32(0.4))]),
)


def shapes(build, **options):
    with torch.device("meta"):
        return build(**options).state_dict()


def constants(like, first=0.0):
    """These names and shapes, each with a number of its own: a few kilobytes in a file, whatever the shapes."""
    return {name: torch.tensor(first + i / 7).to(x.dtype).expand(x.shape) for i, (name, x) in enumerate(like.items())}


RESNET50 = {name: x for name, x in shapes(resnet.resnet50).items() if not name.startswith("fc.")}


def prefixed(prefix, state):
    return {prefix + name: x for name, x in state.items()}


def others(*names):
    return {name: torch.zeros(2) for name in names}


def moco(right, wrong, module="module."):
    fc = others("fc.0.weight", "fc.2.bias")
    state = prefixed("encoder_q.", right | fc) | prefixed("encoder_k.", wrong | fc) | others("queue", "queue_ptr")
    return dict(epoch=200, arch="resnet50", state_dict=prefixed(module, state), optimizer=dict(state={}))


def moco_without_module(right, wrong):
    return moco(right, wrong, module="")


def moco_v3(right, wrong):
    ends = others("head.0.weight", "fc.0.weight")
    state = prefixed("base_encoder.", right | ends) | prefixed("momentum_encoder.", wrong | ends)
    return dict(epoch=300, state_dict=prefixed("module.", state | others("predictor.0.weight")))


def simsiam(right, wrong):
    state = prefixed("encoder.", right | others("fc.0.weight", "fc.7.bias")) | others("predictor.0.weight")
    return dict(epoch=100, arch="resnet50", state_dict=prefixed("module.", state), optimizer={})


def swav(right, wrong):
    return prefixed("module.", right | others("projection_head.0.weight", "prototypes.weight"))


def deepcluster_v2(right, wrong):
    return prefixed("module.", right | others("projection_head.3.bias", "prototypes.prototypes0.weight"))


def flat(right, wrong):
    return right


def dino_full(right, wrong):
    ends = others("head.mlp.0.weight", "head.last_layer.weight_g")
    student, teacher = (prefixed("backbone.", state | ends) for state in (wrong, right))
    return dict(student=prefixed("module.", student), teacher=teacher, dino_loss=others("center"), **SETTINGS)


def barlow_full(right, wrong):
    state = prefixed("backbone.", right) | others("projector.0.weight", "projector.6.weight", "bn.running_mean")
    return dict(epoch=1000, model=prefixed("module.", state), optimizer={})


def vicreg_full(right, wrong):
    state = prefixed("backbone.", right) | others("projector.0.weight")
    return dict(epoch=1000, model=prefixed("module.", state), optimizer={})


def mae_pretrain(right, wrong):
    return dict(model=right)


def mae_full(right, wrong):
    return dict(model=right | DECODER, **SETTINGS)


@pytest.fixture
def save(tmp_path):
    """save(contents): a file as PyTorch writes it, or with `old=True` as it did until 2020."""

    def save(contents, name="file.pth", old=False):
        torch.save(contents, tmp_path / name, _use_new_zipfile_serialization=not old)
        return tmp_path / name

    return save


def same(encoder, state):
    loaded = encoder.state_dict()
    return list(loaded) == list(state) and all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize(
    "layout, ignored",
    [
        (moco, len(RESNET50) + 6),
        (moco_without_module, len(RESNET50) + 6),
        (moco_v3, len(RESNET50) + 5),
        (simsiam, 3),
        (swav, 2),
        (deepcluster_v2, 2),
        (flat, 0),
        (dino_full, 2),
        (barlow_full, 3),
        (vicreg_full, 1),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_layouts_of_a_resnet(save, layout, ignored, old):
    right = constants(RESNET50)
    encoder = load_official(save(layout(right, constants(RESNET50, first=1000.0)), old=old))
    assert same(encoder.encoder, right)
    assert len(encoder.ignored) == ignored
    assert encoder.features_dim == 2048 and not any(module.training for module in encoder.modules())
    assert all(x.requires_grad and x.is_contiguous() for x in encoder.parameters()), "ready for fine-tuning"


@pytest.mark.parametrize("layout, ignored", [(mae_pretrain, 0), (mae_full, len(DECODER)), (flat, 0), (dino_full, 2)])
def test_layouts_of_a_vit(save, layout, ignored):
    encoder = load_official(save(layout(VIT, constants(VIT))), heads=3)
    assert isinstance(encoder, ViT) and same(encoder, VIT)
    assert (encoder.size, encoder.patch, encoder.features_dim) == (32, 4, 48)
    assert len(encoder.ignored) == ignored
    assert not any(module.training for module in encoder.modules())
    assert [name for name, x in encoder.named_parameters() if not x.requires_grad] == ["pos_embed"]


def test_what_is_ignored_is_listed_as_it_is_called_in_the_file(save):
    encoder = load_official(save(simsiam(constants(RESNET50), None)))
    assert encoder.ignored == ["encoder.fc.0.weight", "encoder.fc.7.bias", "predictor.0.weight"]


def test_half_precision_becomes_float32(save):
    encoder = load_official(save({name: x.half() for name, x in VIT.items()}), heads=3)
    assert {x.dtype for x in encoder.parameters()} == {torch.float32}


# Features


@pytest.fixture(scope="module")
def network():
    """A random ResNet-50 whose batch norms have seen images."""
    torch.manual_seed(0)
    network = resnet.resnet50()
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    network.fc = torch.nn.Identity()
    return network.eval()


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_features_of_a_resnet_are_those_of_torchvision(save, network, images):
    path = save(moco(network.state_dict(), constants(RESNET50)))
    features = evaluate.embed(load_official(path), images)
    path.unlink()  # 100 MB
    with torch.no_grad():
        expected = network(normalize(images / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_features_of_a_vit_are_the_official_ones(save):
    encoder = load_official(save(dict(model=MAE)), heads=3)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in IMAGENET.values())
    with torch.no_grad():  # not `embed`: the images are noise beyond [0, 1]; the official code got them standardised
        features = encoder(GOLDEN["imgs"] * std + mean)
    torch.testing.assert_close(features, GOLDEN["latent_mask_ratio0_cls"], rtol=1e-4, atol=1e-4)


def test_colours_are_normalised_as_in_training(save):
    right = constants(RESNET50)
    for layout, red in ((simsiam, 0.229), (swav, 0.228), (deepcluster_v2, 0.228), (dino_full, 0.229)):
        encoder = load_official(save(layout(right, right)))
        encoder.encoder = torch.nn.Identity()
        black, white = encoder(torch.zeros(1, 3, 1, 1)).flatten(), encoder(torch.ones(1, 3, 1, 1)).flatten()
        std = torch.tensor([red, 0.224, 0.225])
        torch.testing.assert_close(black, -torch.tensor([0.485, 0.456, 0.406]) / std)
        torch.testing.assert_close(white - black, 1 / std)


def test_loading_draws_no_random_numbers(save):
    paths = [save(constants(RESNET50), "a.pth"), save(VIT, "b.pth")]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for path in paths:
        load_official(path, heads=3)
    assert torch.rand(1) == expected


# The heads of a ViT, which shapes don't tell


@pytest.mark.parametrize(
    "kind, heads, millions",
    [
        ("ViT-S/16", 6, 21.7),
        ("ViT-S/8", 6, 21.7),
        ("ViT-B/16", 12, 85.8),
        ("ViT-B/8", 12, 85.8),
        ("ViT-L/16", 16, 303.3),
        ("ViT-H/14", 16, 630.8),
    ],
)
def test_official_vits_are_known_by_their_shapes(kind, heads, millions):
    state = shapes(ViT, size=224, **VITS[kind] | {"heads": 1})
    found, encoder = official._encoder(Path("file"), None, state, {}, None)
    assert found == kind and encoder.size == 224 and encoder.blocks[0].attn.heads == heads
    assert sum(x.numel() for x in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.2)


def test_moco_v3_has_twelve_heads_in_its_small_vit(save):
    right = constants(shapes(ViT, size=224, **VITS["ViT-S/16"]))
    assert load_official(save(moco_v3(right, right))).blocks[11].attn.heads == 12
    assert load_official(save(dino_full(right, right))).blocks[11].attn.heads == 6


def test_heads_are_not_guessed(save):
    path = save(VIT)
    with pytest.raises(ValueError, match=r"file\.pth holds a ViT with patch 4, dim 48, depth 2, .* give heads="):
        load_official(path)
    with pytest.raises(ValueError, match="dim must be a multiple of heads"):
        load_official(path, heads=5)
    assert load_official(path, heads=4).blocks[0].attn.heads == 4


# Positions


def field(grid):
    """(1, 1 + grid^2, 4): CLS, and smooth functions of row and column, level at the rim as bicubic continues them."""
    axis = torch.pi * (torch.arange(grid) + 0.5) / grid
    row, column = axis[:, None].expand(grid, grid), axis.expand(grid, grid)
    patches = torch.stack([row.cos(), column.cos(), row.cos() * column.cos(), (2 * row).cos() + 3], dim=2)
    return torch.cat([torch.full((1, 1, 4), 9.0), patches.flatten(0, 1)[None]], dim=1)


@pytest.mark.parametrize("old, new", [(14, 14), (8, 14), (14, 8), (14, 28), (7, 14)])
def test_positions_are_resized_as_a_smooth_field(old, new):
    resized = resize_positions(field(old), new)
    assert torch.equal(resized[:, 0], field(old)[:, 0]), "CLS has no place"
    assert (resized - field(new)).abs().max() < 0.05
    assert old != new or torch.equal(resized, field(old))


def test_a_vit_for_another_size(save):
    path = save(VIT)
    assert torch.equal(load_official(path, heads=3, size=32).pos_embed, VIT["pos_embed"])
    encoder = load_official(path, heads=3, size=48)
    assert torch.equal(encoder.pos_embed, resize_positions(VIT["pos_embed"], 12))
    assert not encoder.pos_embed.requires_grad
    assert evaluate.embed(encoder, torch.rand(2, 3, 48, 48)).shape == (2, 48)
    for size in (2, 30):
        with pytest.raises(ValueError, match=f"multiple of the ViT's patch, 4, got {size}"):
            load_official(path, heads=3, size=size)


# MAE's three families


def test_a_decoder_predicts_as_the_official_one(save):
    mae = load_official_mae(save(dict(model=MAE), "mae_visualize_vit_tiny.pth"), heads=3, decoder_heads=4)
    with torch.no_grad():
        pred = mae.decode(GOLDEN["latent"], GOLDEN["ids_restore"].long())
    torch.testing.assert_close(pred, GOLDEN["pred"], rtol=1e-4, atol=1e-4)
    assert not any(module.training for module in mae.modules())
    with torch.no_grad():
        images = mae.encoder.unstandardise(GOLDEN["imgs"])
        features = mae.encoder(images)
    torch.testing.assert_close(features, GOLDEN["latent_mask_ratio0_cls"], rtol=1e-4, atol=1e-4)


def test_the_family_says_what_a_decoder_predicts(save):
    options = dict(heads=3, decoder_heads=4)
    for name, norm_pix_loss in (("mae_pretrain_vit_x_full", True), ("mae_visualize_vit_x", False)):
        assert load_official_mae(save(dict(model=MAE), f"{name}.pth"), **options).norm_pix_loss is norm_pix_loss
    path = save(dict(model=MAE), "mine.pth")
    with pytest.raises(ValueError, match=r"mine\.pth predict normalised.*norm_pix_loss.*_full\.pth.*mae_visualize"):
        load_official_mae(path, **options)
    assert load_official_mae(path, norm_pix_loss=True, **options).norm_pix_loss is True


def test_an_encoder_alone_has_no_decoder(save):
    with pytest.raises(CheckpointError, match=r"file\.pth has no decoder.*_pretrain_.*_full\.pth.*mae_visualize_vit"):
        load_official_mae(save(mae_pretrain(VIT, None)), heads=3)


def test_a_decoder_that_lacks_a_part_is_refused(save):
    state = {name: x for name, x in MAE.items() if name != "decoder_pred.bias"}
    with pytest.raises(CheckpointError, match=r"fit a MAE with a ViT.* 1 missing: decoder_pred\.bias"):
        load_official_mae(save(dict(model=state), "full.pth"), heads=3, decoder_heads=4)


# What does not fit


def without(state, *starts):
    return {name: x for name, x in state.items() if not name.startswith(starts)}


WRONG = {
    "missing": (without(RESNET50, "layer4.2.conv3"), r"fit a ResNet-50: 1 missing: layer4\.2\.conv3\.weight\. Take"),
    "unknown": (RESNET50 | others("extra.weight"), r"fit a ResNet-50: 1 unknown: extra\.weight\."),
    "shape": (
        RESNET50 | {"conv1.weight": torch.zeros(64, 3, 3, 3)},
        r"1 of another shape: conv1\.weight \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)\.",
    ),
    "resnet18": (shapes(resnet.resnet18), r"fit a ResNet-50: \d+ missing: \S+ \S+ \S+ …; .*of another shape"),
    "wide": (shapes(resnet.wide_resnet50_2), r"fit a ResNet-50: \d+ of another shape"),
    "mixed": (swav(RESNET50, None) | others("bare.weight"), "holds neither"),  # only some have "module."
    "fine-tuned": (
        dict(model=without(VIT, "norm.") | others("fc_norm.weight", "head.weight")),
        "missing: norm.*unknown: fc_norm",
    ),
    "block": (without(VIT, "blocks.1.mlp.fc2"), r"2 missing: blocks\.1\.mlp\.fc2\.weight, blocks\.1\.mlp\.fc2\.bias"),
    "nan": (VIT | {"norm.bias": torch.full((48,), torch.nan)}, r"holds NaN or infinite weights: norm\.bias\."),
    "no-pos": (without(VIT, "pos_embed"), "without pos_embed"),
    "flat-pos": (VIT | {"pos_embed": torch.zeros(65, 48)}, "without pos_embed"),
    "odd-pos": (VIT | {"pos_embed": VIT["pos_embed"][:, 1:]}, r"pos_embed \(1, 64, 48\), expected \(1, 50, 48\)"),
    "ijepa": (dict(encoder={}, target_encoder=without(VIT, "cls_token")), "missing: cls_token"),  # as I-JEPA
    "stranger": (
        moco(RESNET50, RESNET50)["state_dict"] | others("module.conv1.weight"),
        r"encoder_q\.\* and .* conv1\.weight",
    ),
    "alexnet": (
        others("features.0.weight", "features.0.bias"),
        r"neither a ResNet-50 nor a ViT but features\.0\.weight",
    ),
    "student": (
        dict(student=VIT, epoch=3),
        "holds student, epoch: expected .* state_dict, model, target_encoder, teacher",
    ),
    "empty": (dict(model={}), "holds nothing"),
    "list": (dict(state_dict={"conv1.weight": [1.0]}), r"holds conv1\.weight: expected are names and tensors"),
    "number": ({1: torch.zeros(1)}, "holds 1: expected"),
    "tensor": (torch.zeros(3), "holds a Tensor"),
}


@pytest.mark.parametrize("contents, message", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(save, contents, message):
    if isinstance(contents, dict) and "layer1.0.conv1.weight" in contents:
        contents = constants(contents)
    with pytest.raises(CheckpointError, match=rf"file\.pth .*{message}"):
        load_official(save(contents), heads=3)


def test_unknown_names_and_places(tmp_path):
    with pytest.raises(ValueError, match=r"moco-v4 is neither a file nor one of .*moco-v2-800ep.*vicreg"):
        load_official("moco-v4")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_official(tmp_path)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_cut_off_file_is_a_clear_error(save, old):
    path = save(dino_full(VIT, VIT), old=old)
    data = path.read_bytes()
    for size in [0, 1, 2, 10, *range(100, len(data), len(data) // 50), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"file\.pth is (not a readable checkpoint|cut off or damaged)"):
            load_official(path, heads=3)


def test_a_web_page_is_called_one(tmp_path):
    (tmp_path / "file.pth").write_text("\n<!DOCTYPE html><html>Not found</html>")
    with pytest.raises(CheckpointError, match=r"file\.pth is a web page"):
        load_official(tmp_path / "file.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", ["zip", "old", "pickle"])
def test_a_payload_is_refused_without_running_it(save, tmp_path, write):
    args = argparse.Namespace(lr=0.1, output_dir=Payload(tmp_path / "ran"))  # inside of what full checkpoints may hold
    contents, path = dict(model=VIT, args=args), tmp_path / "file.pth"
    if write == "pickle":
        path.write_bytes(pickle.dumps(contents))
    else:
        save(contents, old=write == "old")
    with pytest.raises(CheckpointError, match=r"file\.pth is not a readable checkpoint"):
        load_official(path, heads=3)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes()) if write == "pickle" else torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists(), "the payload is a real one"


def test_settings_are_read_as_nothing_and_only_here(save):
    path = save(dino_full(VIT, VIT))
    state = official._open(path)
    for x in (state["args"], *state["optimizer"]["param_groups"][0].values()):
        assert type(x) is official._NotWeights and not vars(x)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


# Downloads


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        asked, body = self.headers.get("Range"), self.server.body
        self.server.requests.append((self.path, asked))
        start = int(asked[6:-1]) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:])


@pytest.fixture
def server(save, monkeypatch):
    """Serves a VICReg file instead of the authors' server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.body, server.requests = save(constants(RESNET50)).read_bytes(), []
        monkeypatch.setattr(official, "BASE", f"http://127.0.0.1:{server.server_port}/")
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def test_a_name_is_downloaded_once_and_loaded(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSLBOOK_DATA", str(tmp_path / "data"))
    for _ in range(2):
        assert same(load_official("vicreg", show_progress=False).encoder, constants(RESNET50))
    assert server.requests == [("/vicreg/resnet50.pth", None)]
    assert os.listdir(tmp_path / "data/official") == ["vicreg.pth"]


def test_a_download_is_resumed(server, tmp_path):
    (tmp_path / "official").mkdir()
    (tmp_path / "official/vicreg.pth.part").write_bytes(server.body[:1000])
    assert same(load_official("vicreg", root=tmp_path, show_progress=False).encoder, constants(RESNET50))
    assert server.requests == [("/vicreg/resnet50.pth", "bytes=1000-")]


def test_the_published_digits_of_an_md5_are_compared(server, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match=r"another file.*md5(?s:.*)moco-v2-800ep\.pth \(md5 a04e12f8\*\)"):
        load_official("moco-v2-800ep", root=tmp_path, show_progress=False)
    assert os.listdir(tmp_path / "official") == []
    digits = hashlib.md5(server.body).hexdigest()[:8] + "*"
    monkeypatch.setitem(OFFICIAL, "moco-v2-800ep", replace(OFFICIAL["moco-v2-800ep"], md5=digits))
    assert same(load_official("moco-v2-800ep", root=tmp_path, show_progress=False).encoder, constants(RESNET50))


def test_without_an_md5_the_file_itself_is_checked(server, tmp_path):
    with pytest.raises(CheckpointError, match=r"dino-vit-small-8\.pth holds a ResNet-50, expected is a ViT-S/8"):
        load_official("dino-vit-small-8", root=tmp_path, show_progress=False)
    server.body = server.body[:-100]
    with pytest.raises(CheckpointError, match=r"vicreg\.pth is not a readable checkpoint .*cut off"):
        load_official("vicreg", root=tmp_path, show_progress=False)
    server.body = b"<html>We moved</html>"
    with pytest.raises(CheckpointError, match=r"barlow-twins\.pth is a web page.*deleted"):
        load_official("barlow-twins", root=tmp_path, show_progress=False)


def test_the_table():
    known = {name: entry.md5 for name, entry in OFFICIAL.items() if entry.md5 != "*"}
    assert known == {  # from the READMEs of facebookresearch/mae and facebookresearch/moco
        "mae-vit-base": "8cad7c*",
        "mae-vit-large": "b8b06e*",
        "mae-vit-huge": "9bdbb0*",
        "moco-v1-200ep": "b251726a*",
        "moco-v2-200ep": "59fd9945*",
        "moco-v2-800ep": "a04e12f8*",
    }
    urls = [url for entry in OFFICIAL.values() for url in entry.urls]
    assert len(set(urls)) == len(urls) == len(OFFICIAL)
    assert all(re.fullmatch(r"https://dl\.fbaipublicfiles\.com/[\w./-]+\.pth(\.tar)?", url) for url in urls)
    for name, entry in OFFICIAL.items():
        assert entry.architecture == "ResNet-50" or entry.architecture in VITS, name
        assert entry.licence == {"moco-v1": "MIT", "moco-v2": "MIT", "barlow-": "MIT", "vicreg": "MIT"}.get(
            name[:7], "Apache 2.0" if name.startswith("dino") else "CC BY-NC 4.0"
        )
    for name, path in (
        ("mae-vit-base-full", "mae/pretrain/mae_pretrain_vit_base_full.pth"),
        ("moco-v2-800ep", "moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"),
        ("simsiam-100ep", "simsiam/models/100ep/pretrain/checkpoint_0099.pth.tar"),
        ("swav-800ep", "deepcluster/swav_800ep_pretrain.pth.tar"),
        ("dino-vit-small-16", "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"),
        ("dino-resnet50", "dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
    ):
        assert OFFICIAL[name].path == path
