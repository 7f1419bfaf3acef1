"""Turn DINO's centring off and its sharpening down, and see both collapses, from runs that were logged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets

from sslbook.widgets._source import source

CURVES = ("entropy", "KL", "used")  # of each run over the epochs
MOST_RUNS = 60


class CentringPad(anywidget.AnyWidget):
    """Logged trainings of DINO, one for each centring and each temperature of the teacher: entropy and KL by epoch.

    The teacher's entropy lies between 0 and ln K. At ln K it says the same of all prototypes, for every image: the
    uniform collapse. With one prototype in use it says the same of all images: the constant collapse. It can also share
    all images among the same many. Then the KL from teacher to student is 0 as well, and the loss teaches nothing.

    Args:
        logs: one for each seed, as `results.studies("dino-pad")` reads them: each with "seed" and "rows", of which
            those are shown that have a "pad". Such a row has "centring" ("mean" or "none"), "T_t", "K", "kNN",
            "untrained" with its "kNN", and "curves" with a list for each of `CURVES`, one number an epoch. All seeds
            have the same centrings, temperatures and number of epochs.

    With a kernel `centring`, `temperature` (an index), `seed` (an index) and `epoch` (an index) can be read and set.

    Raises:
        ValueError: there is no run, a combination is missing or there twice, or curves differ in length.
    """

    _esm = source("page.js", "centring.js")
    _css = source("widgets.css", "centring.css")
    runs = traitlets.List().tag(sync=True)  # {centring, T, seed, knn, entropy, KL, used}, seeds outermost
    temperatures = traitlets.List().tag(sync=True)
    seeds = traitlets.List().tag(sync=True)
    K = traitlets.Int().tag(sync=True)
    untrained = traitlets.List().tag(sync=True)  # kNN before the training, of each seed
    centring = traitlets.Enum(["mean", "none"], "mean").tag(sync=True)
    temperature = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)

    def __init__(self, logs: Sequence[Mapping[str, Any]], **kwargs):
        rows = {log["seed"]: [row for row in log["rows"] if row.get("pad")] for log in logs}
        first = next(iter(rows.values()), [])
        if not first:
            raise ValueError("logs must hold at least one row with a 'pad'")
        temperatures = sorted({row["T_t"] for row in first})
        runs = [_run(seed, rows[seed], c, T) for seed in rows for c in ("mean", "none") for T in temperatures]
        lengths = {len(run[curve]) for run in runs for curve in CURVES}
        if len(lengths) > 1:
            raise ValueError(f"all curves must have the same number of epochs, got {sorted(lengths)}")
        if len(runs) > MOST_RUNS:
            raise ValueError(f"a page shows at most {MOST_RUNS} runs, got {len(runs)}")
        super().__init__(
            runs=runs,
            temperatures=temperatures,
            seeds=[str(seed) for seed in rows],
            K=first[0]["K"],
            untrained=[some[0]["untrained"]["kNN"] for some in rows.values()],
            epoch=kwargs.pop("epoch", lengths.pop() - 1),
            **kwargs,
        )


def _run(seed: int, rows: Sequence[Mapping[str, Any]], centring: str, T: float) -> dict[str, Any]:
    """The one row of a seed that has this centring and temperature, its numbers short."""
    found = [row for row in rows if row["centring"] == centring and row["T_t"] == T]
    if len(found) != 1:
        raise ValueError(f"seed {seed} must have one run with centring {centring!r} and T_t {T}, got {len(found)}")
    [row] = found
    curves = {curve: [round(x, 3) for x in row["curves"][curve]] for curve in CURVES}
    return {"centring": centring, "T": T, "seed": str(seed), "knn": round(row["kNN"], 3), **curves}


def collapse_of(entropy: float, used: float, K: int) -> str:
    """What a teacher's mean entropy and its number of prototypes in use say: "uniform", "constant", "alike" or "".

    Uniform is an entropy above 95 % of ln K, constant fewer than two prototypes in use. Alike is what is left of both:
    ln(used) - entropy is what a prototype says of the image, in nats, and below 0.1 all images get the same.
    """
    if used < 2:
        return "constant"
    if entropy > 0.95 * math.log(K):
        return "uniform"
    return "alike" if math.log(used) - entropy < 0.1 else ""
