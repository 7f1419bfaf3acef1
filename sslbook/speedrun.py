"""A race: how fast does a training without labels reach a kNN accuracy? The clock, the board, and a first entry."""

from __future__ import annotations

import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslbook import evaluate, results, sets
from sslbook.files import try_folder
from sslbook.images import ImageSet
from sslbook.methods import SimCLR
from sslbook.pretrain import pretrain

Entry = Callable[[ImageSet], nn.Module]
VOTE = dict(k=10, temperature=math.inf)  # ten neighbours by cosine, all votes alike, as in the public record


@dataclass(frozen=True)
class Track:
    """Which images, and the kNN accuracy on the test images that has to be reached."""

    image_set: str
    target: float


TRACKS = {
    "shapes": Track("shapes", 0.80),  # two CPU cores, under a minute
    "cifar10": Track("cifar10", 0.90),  # a GPU
}


def simclr(make_encoder: Callable[[], nn.Module], *, temperature: float = 0.5, seed: int = 0, **options: Any) -> Entry:
    """An entry to start from: SimCLR from random weights; `options` are those of `pretrain`."""

    def entry(images: ImageSet) -> nn.Module:
        torch.manual_seed(seed)
        method = SimCLR(make_encoder(), temperature=temperature).to(images.images.device)
        pretrain(method, images, seed=seed, **options)
        return method.encoder

    return entry


def race(
    entry: Entry,
    track: str,
    *,
    team: str,
    device: str | torch.device = "cpu",
    folder: str | os.PathLike | None = "speedrun",
    **settings: Any,
) -> dict[str, Any]:
    """Call `entry(images)`, which trains an encoder from random weights and returns it, and stop the time.

    The entry sees the training images on `device` without labels or factors. The clock runs from the call to its
    return, so probes inside count too; embedding and kNN come after. The log says what ran where, and with `folder`
    it is written to <folder>/<track>-<team>.json, which is what a class hands in.

    Raises ValueError for an unknown track, a team without a letter or digit, or an entry that returns no encoder;
    OSError before the race if nothing can be written to `folder`.
    """
    if track not in TRACKS:
        raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {track!r}")
    name = re.sub(r"\W+", "-", team.lower()).strip("-")
    if not name:
        raise ValueError(f"team is a name with letters or digits, got {team!r}")
    if folder is not None:
        try_folder(folder)
    train, test = sets.load(TRACKS[track].image_set, device=device)
    unlabelled = ImageSet(train.images, torch.full_like(train.labels, -1), [], name=train.name)
    start = time.perf_counter()
    encoder = entry(unlabelled)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"an entry returns its trained encoder, a module; got {type(encoder).__name__}")
    known, new = evaluate.embed(encoder, train), evaluate.embed(encoder, test)
    knn = evaluate.knn(known, train.labels, new, test.labels, **VOTE)
    reached = knn >= TRACKS[track].target
    log = dict(
        team=team, track=track, seconds=seconds, knn=knn, reached=reached, **asdict(TRACKS[track]), settings=settings,
        parameters=sum(p.numel() for p in encoder.parameters()), machine=results.machine(),
    )  # fmt: skip
    if folder is not None:
        results.write(Path(folder) / f"{track}-{name}.json", **log)
    return log


def board(folder: str | os.PathLike, track: str) -> list[dict[str, str]]:
    """The logs of a track in a folder as rows of a table: who reached the target, fastest first, then who did not.

    Who reached it is what the kNN accuracy says, whatever else the file claims. A file that is no log of a race is left
    out, with a warning that names it.
    """
    logs = []
    for path in sorted(Path(folder).glob(f"{track}-*.json")):
        try:
            logs.append(_hand_in(path, track))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            warnings.warn(f"{path.name} is left out, it is no log of a race: {_reason(error)}", stacklevel=2)
    target = TRACKS[track].target
    reached = sorted((log for log in logs if log["knn"] >= target), key=lambda log: log["seconds"])
    missed = sorted((log for log in logs if log["knn"] < target), key=lambda log: -log["knn"])
    return [
        {
            "place": str(place) if place <= len(reached) else "",
            "team": log["team"],
            "seconds": f"{log['seconds']:.1f}",
            "kNN": f"{log['knn']:.3f}",
            "on": log["on"],
        }
        for place, log in enumerate([*reached, *missed], 1)
    ]


def _hand_in(path: Path, track: str) -> dict[str, Any]:
    """What the board shows of a log. Raises ValueError, KeyError or TypeError if it is none."""
    log = json.loads(path.read_text(encoding="utf-8"))
    seconds, knn, machine = float(log["seconds"]), float(log["knn"]), log["machine"]
    if log.get("track", track) != track:
        raise ValueError(f"track: {log['track']}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds: {seconds}")
    if not 0 <= knn <= 1:
        raise ValueError(f"knn: {knn}")
    on = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    return dict(team=str(log["team"]), seconds=seconds, knn=knn, on=str(on))


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
