"""Trained weights in files that can hold no code: safetensors, whose metadata say how to build what they fit.

The metadata have one entry, "sslbook", in JSON: encoder (a name), size (the side of its images in pixels), input (the
range of a pixel, [0, 1]: no mean is to be subtracted before), and sha256, a checksum of all of this and of the tensors.

The methods that come with the book are float16; the log of the run that made one is results/pretrained/<name>-0.json,
and experiments/ship.py makes both again. Encoders that the command line or the chapters trained are float32.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sslbook import methods, vit
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import make_encoder
from sslbook.files import atomic

FOLDER = Path(__file__).parent / "weights"


def names() -> list[str]:
    """What there is."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name_or_path: str | os.PathLike) -> methods.Method:
    """A trained method by its name, or from a file that `save` wrote: float32, in eval mode, on the CPU.

    >>> mae = pretrained.load("mae-shapes")

    Raises:
        ValueError: neither a name nor a file.
        CheckpointError: the file is damaged, or not one of `save`.
    """
    path = FOLDER / f"{name_or_path}.safetensors"
    path = path if path.is_file() else Path(name_or_path)
    if not path.is_file():
        raise ValueError(f"{name_or_path!s} is neither a file nor one of {', '.join(names())}")
    with _readable(path) as (about, state):
        method = _build(about["method"], about["encoder"], about["arguments"], state)
    return method.eval()


def save(path: str | os.PathLike, method: methods.Method, encoder: str, arguments: dict) -> None:
    """Write a method of `sslbook.methods` with `encoder`, a name in `sslbook.vit`, made with these arguments."""
    about = dict(method=type(method).__name__, encoder=encoder, arguments=arguments)
    _write(path, {name: x.half() for name, x in method.state_dict().items()}, about)


def _build(method: str, encoder: str, arguments: dict, state: dict[str, Tensor]) -> methods.Method:
    if method not in methods.METHODS or not (encoder.startswith("vit_") and hasattr(vit, encoder)):
        raise ValueError(f"no method {method!r} with an encoder {encoder!r}")
    largest = max(len(state), *(max(x.shape, default=1) for x in state.values()))
    for name, value in arguments.items():
        if isinstance(value, int) and value > largest:
            raise ValueError(f"{name}={value} is more than its tensors have")
    with torch.device("meta"):  # what a file asks for takes no memory before its tensors fit, and no random numbers
        made = methods.METHODS[method].method(getattr(vit, encoder)(), **arguments)
    made.load_state_dict(state, assign=True)
    return made


def save_encoder(path: str | os.PathLike, encoder: nn.Module, name: str, size: int) -> None:
    """Write an encoder that `make_encoder(name, size)` made. Spectral norm is written as the weights that it gives,
    and what stands in the place of batch norm as a batch norm, so that `load_encoder` has no need to know of them.
    The command line and the chapters write this one format.

    `safetensors.torch.load_file` gives its state dict where there is no `sslbook`; *Your own images* shows how.
    """
    _write(path, plain_state(encoder), dict(encoder=name, size=size))


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """The state dict without parametrizations, such as spectral norm: of a weight what they make of it in eval mode."""
    state, training = network.state_dict(), network.training
    for place, layer in network.eval().named_modules():
        if is_parametrized(layer):
            prefix = f"{place}." if place else ""
            for name in layer.parametrizations:
                state = {k: x for k, x in state.items() if not k.startswith(f"{prefix}parametrizations.{name}.")}
                state[f"{prefix}{name}"] = getattr(layer, name)
    network.train(training)
    return state


def load_encoder(path: str | os.PathLike) -> nn.Module:
    """An encoder from a file of `save_encoder`: images (n, 3, size, size) in [0, 1] to features (n, features_dim).

    In eval mode, on the CPU. Raises CheckpointError if the file is damaged or none of `save_encoder`.
    """
    with _readable(path) as (about, state):
        if not isinstance(about["size"], int):
            raise ValueError(f"size={about['size']!r}")
        with torch.device("meta"):
            encoder = make_encoder(about["encoder"], about["size"])
        encoder.load_state_dict(state, assign=True)
    return encoder.eval()


def read_about(path: str | os.PathLike) -> dict:
    """What a file says of itself: encoder, size, input. Raises CheckpointError if it is damaged or none of ours."""
    with _readable(path) as (about, _):
        return about


def _write(path: str | os.PathLike, state: dict[str, Tensor], about: dict) -> None:
    state = {name: x.detach().cpu().contiguous() for name, x in state.items()}
    about = about | {"input": [0, 1]}
    about["sha256"] = _checksum(about, state)
    with atomic(path) as file:
        file.write(serialize(state, {"sslbook": json.dumps(about)}))


def _checksum(about: dict, state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(state):
        x = state[name]
        digest.update(f"{name} {x.dtype} {tuple(x.shape)}".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def _readable(path: str | os.PathLike) -> Iterator[tuple[dict, dict[str, Tensor]]]:
    """What a file says of itself, and its tensors; whatever goes wrong with them is a CheckpointError."""
    try:
        if not Path(path).is_file():
            raise ValueError("there is no file")
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["sslbook"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        checksum = about.pop("sha256", None)
        if checksum is None:
            raise ValueError("it has no checksum, which files of earlier versions lack")
        if checksum != _checksum(about, tensors):
            raise ValueError("its checksum does not fit")
        for name, x in tensors.items():
            if x.is_floating_point() and not x.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinite numbers")
        yield about, {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()}
    except (
        SafetensorError,
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is not a file of sslbook.pretrained ({reason}). It may be damaged or "
            "cut off: make or install it again, or restore a whole copy."
        ) from error
