"""Trained weights in files that can hold no code: safetensors, whose metadata say how to build what they fit.

The methods that come with the book are float16; the log of the run that made one is results/pretrained/<name>-0.json,
and experiments/ship.py makes both again. Encoders that the command line trained are float32.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

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
        method = _build(**about)
        method.load_state_dict(state)
    return method.eval()


def save(path: str | os.PathLike, method: methods.Method, encoder: str, arguments: dict) -> None:
    """Write a method of `sslbook.methods` with `encoder`, a name in `sslbook.vit`, made with these arguments."""
    about = dict(method=type(method).__name__, encoder=encoder, arguments=arguments)
    _write(path, {name: x.half() for name, x in method.state_dict().items()}, about)


def _build(method: str, encoder: str, arguments: dict) -> methods.Method:
    if method not in methods.METHODS or not encoder.startswith("vit_"):
        raise ValueError(f"no method {method!r} with an encoder {encoder!r}")
    with torch.random.fork_rng(devices=[]):
        return methods.METHODS[method].method(getattr(vit, encoder)(), **arguments)


def save_encoder(path: str | os.PathLike, encoder: nn.Module, name: str, size: int) -> None:
    """Write an encoder that `make_encoder(name, size)` made."""
    _write(path, encoder.state_dict(), dict(encoder=name, size=size))


def load_encoder(path: str | os.PathLike) -> nn.Module:
    """An encoder from a file of `save_encoder`, in eval mode, on the CPU. Raises CheckpointError if it is none."""
    with _readable(path) as (about, state):
        encoder = make_encoder(about["encoder"], about["size"])
        encoder.load_state_dict(state)
    return encoder.eval()


def _write(path: str | os.PathLike, state: dict[str, Tensor], about: dict) -> None:
    state = {name: x.detach().cpu().contiguous() for name, x in state.items()}
    with atomic(path) as file:
        file.write(serialize(state, {"sslbook": json.dumps(about)}))


@contextlib.contextmanager
def _readable(path: str | os.PathLike) -> Iterator[tuple[dict, dict[str, Tensor]]]:
    """What a file says of itself, and its tensors; whatever goes wrong with them is a CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["sslbook"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        yield about, {name: x.float() if x.is_floating_point() else x for name, x in tensors.items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} is not a file of sslbook.pretrained ({reason}). It may be cut off: "
            "make or install it again, or restore a whole copy."
        ) from error
