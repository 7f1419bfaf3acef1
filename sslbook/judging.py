"""What the command line judges by and says of it: labelled photos, baselines beside the trained encoder, a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook import evaluate
from sslbook.encoders import make_encoder
from sslbook.images import ImageSet, as_floats
from sslbook.photos import PhotoStream, from_folder

PROBED = 5000  # photos of a folder that are judged by
THUMBNAIL = 16  # pixels of a side: small enough for a probe on thousands of photos


def labelled_photos(train: ImageSet | PhotoStream, test: str, size: int) -> tuple[ImageSet, ImageSet]:
    """Some of a folder's photos and those of a second one, as `evaluate.to_judge` matches them.

    Raises ValueError if they can't be matched, before anything is trained on them.
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    known = order[train.labels[order] >= 0][:PROBED].sort().values
    if not len(known):
        raise ValueError("--test asks for classes, and --data has none: it needs a sub-folder for each class")
    return evaluate.to_judge(train[known], from_folder(test, size, show_progress=False))


def thumbnails(images: ImageSet, device: torch.device | str = "cpu") -> Tensor:
    """The images as features, (N, 768): what a probe can do that saw no network at all."""
    side = min(THUMBNAIL, *images.size)
    parts = [F.adaptive_avg_pool2d(as_floats(x.to(device)), side).flatten(1) for x in images.images.split(512)]
    return torch.cat(parts)


def judge(encoder: nn.Module, name: str, size: int, sets: tuple[ImageSet, ImageSet]) -> dict[str, Any]:
    """Entries of a log: what a trained encoder answers, an untrained one of its name, pixels, and by which protocol."""
    device = next(encoder.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = make_encoder(name, size).to(device)
    return dict(
        report=evaluate.report(encoder, *sets),
        baselines={
            "untrained": evaluate.report(untrained, *sets),
            "pixels": evaluate.report(lambda images: thumbnails(images, device), *sets),
        },
        protocol=evaluate.protocol(*sets),
    )


def table(label: str, judged: dict[str, Any]) -> str:
    """What `judge` found in lines for people, the trained encoder first."""
    rows = {label: judged["report"]} | judged["baselines"]
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {question}" for question in judged["report"])]
    for name, answers in rows.items():
        lines.append(name.ljust(width) + "".join(f"  {x:{len(q)}.3f}" for q, x in answers.items()))
    p = judged["protocol"]
    lines.append(
        f"{p['test labels']:,} test images; {p['labels']:,} labels, 1 % of them are {p['1 % of labels']}; "
        f"kNN with k = {p['k']}; pixels of {THUMBNAIL} px"
    )
    return "\n".join(lines)


def read_log(folder: Path) -> dict[str, Any]:
    """The log.json of a run, {} if there is none; ValueError with the file's name if it is not one of ours."""
    path = folder / "log.json"
    if not path.is_file():
        return {}
    try:
        log = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): say --data, and --test for photos") from error
    texts = isinstance(log, dict) and all(isinstance(log.get(key), str | None) for key in ("data", "test"))
    if not texts:
        raise ValueError(f"{path} is not the log of a training: say --data, and --test for photos")
    return log
