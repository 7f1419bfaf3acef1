"""Small trained methods that come with the book: float16 weights as safetensors, which can hold no code.

The file's metadata say how to build the method; the log of the run that made it is results/pretrained/<name>-0.json,
and experiments/ship.py makes both again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from sslbook import methods, vit
from sslbook.checkpoint import CheckpointError

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
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        method = _build(**json.loads(about["sslbook"]))
        method.load_state_dict(state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a file of sslbook.pretrained ({str(error).splitlines()[0]}). It may be cut off: "
            "install the package again, or restore a whole copy."
        ) from error
    return method.eval()


def save(path: str | os.PathLike, method: methods.Method, encoder: str, arguments: dict) -> None:
    """Write a method of `sslbook.methods` with `encoder`, a name in `sslbook.vit`, made with these arguments."""
    path = Path(path)
    about = json.dumps(dict(method=type(method).__name__, encoder=encoder, arguments=arguments))
    state = {name: x.detach().half().cpu().contiguous() for name, x in method.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(serialize(state, {"sslbook": about}))
    os.replace(part, path)


def _build(method: str, encoder: str, arguments: dict) -> methods.Method:
    if method not in methods.__all__ or not encoder.startswith("vit_"):
        raise ValueError(f"no method {method!r} with an encoder {encoder!r}")
    with torch.random.fork_rng(devices=[]):
        return getattr(methods, method)(getattr(vit, encoder)(), **arguments)
