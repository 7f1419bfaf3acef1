"""What the book's playground trains in a reader's page: small forms of methods, with and without a part of theirs.

A page gets no weights and no code of a method: it gets graphs (`in_page`), and what it must know to feed them. They lie
in the package, in `graphs/`, so that nobody needs onnx to show them. `python -m tools.graphs` traces them anew, and a
test holds each to a step of PyTorch's.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sslbook import results
from sslbook.budget import BUDGETS
from sslbook.encoders import ConvNet
from sslbook.methods import METHODS, Method, Recipe
from sslbook.patients import ARGUMENTS, OnlyPull
from sslbook.shapes import CLASSES
from sslbook.views import Views

WIDTH = 8  # of the ConvNet: 34 k parameters
SIZE = 24  # px of a view
BATCH = 64  # pictures, if a `Play` says nothing else: a step must be short to be watched
WATCHED = 128  # pictures on the sphere
CHUNK = 256  # pictures that are encoded at once
GRAPHS = Path(__file__).parent / "graphs/playground"
TERMS = {"redundancy term": {"lambd": 0.0}, "variance term": {"mu": 0.0}}


@dataclass(frozen=True)
class Knob:
    """A number that a reader may change while it trains, an attribute of the method."""

    name: str
    label: str
    stops: Sequence[float]
    floors: Sequence[float] | None = None  # the smallest loss there can be, at each stop


@dataclass(frozen=True)
class Play:
    """How a method is played with. What is not said is its recipe's for the shapes."""

    parts: Sequence[str]  # that can be removed
    dials: Sequence[Knob] = ()
    floor: float | None = None  # the smallest loss there can be
    arguments: dict[str, float] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    batch: int = BATCH
    crop: float = 0.25  # the smallest share of a picture that a view shows


TEMPERATURES = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)


def contrastive_floor(temperature: float, rows: int = 2 * BATCH) -> float:
    """The smallest InfoNCE of n rows in pairs: partners are one point, and all others as far away as can be at once.

    These points are the corners of a simplex, with cosines of -1 / (n / 2 - 1).
    """
    apart = -1 / (rows / 2 - 1)
    return math.log1p((rows - 2) * math.exp((apart - 1) / temperature))


PLAYS: dict[str, Play] = {
    "SimCLR": Play(
        parts=["negatives"],
        train=dict(lr=4e-3),
        dials=[Knob("temperature", "Temperature", TEMPERATURES, [contrastive_floor(t) for t in TEMPERATURES])],
    ),
    "BYOL": Play(
        parts=["predictor", "slow target"],
        floor=0.0,
        arguments=dict(schedule=False, dim=64, hidden=128),
        batch=32,
        crop=0.5,  # by hand, in a few short runs on other seeds
    ),
    "SimSiam": Play(
        parts=["stop-gradient", "predictor"],
        floor=-1.0,
        arguments=dict(dim=128),
        train=dict(optimizer="adamw", lr=2e-3, weight_decay=1e-3),
        batch=32,
        crop=0.5,
    ),
    "BarlowTwins": Play(
        parts=["redundancy term"],
        arguments=dict(dim=64, lambd=0.05),
        dials=[Knob("lambd", "Weight of redundancy", (0.0, 0.001, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1))],
        floor=0.0,
    ),
    "VICReg": Play(parts=["variance term"], floor=0.0, arguments=dict(dim=128), train=dict(lr=4e-3)),
}


def playable() -> list[str]:
    """The names of the methods, in the order of the book."""
    return [name for name in METHODS if name in PLAYS]


def make(name: str, part: str | None = None, seed: int = 0) -> Method:
    """The small form of a method from random weights, complete or without a part of its `Play`.

    Raises ValueError if it is no method of the playground, or has no such part.
    """
    if name not in playable():
        raise ValueError(f"the playground has {', '.join(playable())}; got {name!r}")
    play = PLAYS[name]
    if part is not None and part not in play.parts:
        raise ValueError(f"from {name} can be removed: {', '.join(play.parts)}; got {part!r}")
    arguments = recipe(name).method | (ARGUMENTS | TERMS).get(part, {})
    kind = OnlyPull if part == "negatives" else METHODS[name].method
    torch.manual_seed(seed)
    return kind(ConvNet(WIDTH), **arguments)


def recipe(name: str) -> Recipe:
    """The recipe for the shapes, with what its `Play` says."""
    own, play = BUDGETS["cpu"].recipe(name), PLAYS[name]
    views = Views(replace(view, scale=(play.crop, 1)) for view in BUDGETS["cpu"].views)
    return replace(own, method=own.method | play.arguments, train=own.train | play.train | {"views": views})


def variant(name: str, part: str | None = None) -> str:
    """What the graph of a method's step is called."""
    return f"{name} without {part}" if part else name


def stored() -> tuple[bytes, dict[str, dict[str, list[int]]]]:
    """Graphs gzipped in pieces, and where these lie: {name: {"model": [from, to], "parts": ...}}.

    Of each method a step, a step without each of its parts (`variant`), and its embeddings, "<name> z"; one encoder's
    "features". A part of a state is [name, numbers, how it begins, a number or another's name], as `in_page.Part`.
    """
    return GRAPHS.with_suffix(".bin").read_bytes(), json.loads(GRAPHS.with_suffix(".json").read_text(encoding="utf-8"))


def piece(packed: bytes, place: Sequence[int]) -> bytes:
    """A graph's model, or what its state is made of: what lies at this place of the index."""
    first, last = place
    return gzip.decompress(packed[first:last])


def about(names: Sequence[str]) -> dict[str, Any]:
    """What a page must know of the methods beside their graphs, in plain lists and numbers."""
    methods = {}
    for name in names:
        method = make(name)
        play, entry = PLAYS[name], METHODS[name]
        methods[name] = dict(
            label=entry.label,
            parts=list(play.parts),
            batch=play.batch,
            lr=recipe(name).train["lr"],
            views=recipe(name).train["views"].settings(),
            crop=play.crop,
            chance=method.chance(play.batch),
            floor=play.floor,
            dials=[asdict(dial) | {"value": getattr(method, dial.name)} for dial in play.dials],
        )
    return dict(methods=methods, watched=WATCHED, chunk=CHUNK, classes=list(CLASSES))


def outcomes(name: str) -> list[dict[str, Any]]:
    """What `experiments/playground.py` logged of a method, one row a case: loss, spread of z and kNN at the end.

    "without" a part that was never there, or "removed" when the complete method had trained. The mean over the logs.
    """
    logs = [[row for row in log["rows"] if row["method"] == name] for log in results.studies("playground")]
    courses = list(zip(*logs, strict=True))
    rows = [{"run": "untrained", "last loss": None} | {key: _mean(courses[0], key, 0) for key in ("spread", "kNN")}]
    for same in courses:
        case, part = same[0]["case"], same[0]["part"]
        run = {"complete": "complete", "never": f"without {part}", "removed": f"{part} removed"}[case]
        rows.append({"run": run, "last loss": _mean(same, "loss", -1)})
        rows[-1] |= {key: _mean(same, key, -1) for key in ("spread", "kNN")}
    return rows


def _mean(rows: Sequence[dict[str, Any]], key: str, place: int) -> float:
    return fmean(row[key][place] for row in rows)
