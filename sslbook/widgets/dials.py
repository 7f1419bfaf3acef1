"""Turn three weights of a loss up and down, and see kNN, rank and spectrum of runs that were logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets

from sslbook.widgets._source import source

WEIGHTS = ("lambd", "mu", "nu")  # of invariance, variance and covariance
TERMS = ("invariance", "variance", "covariance")
MOST_RUNS = 120


class ThreeDials(anywidget.AnyWidget):
    """Logged trainings with other weights of invariance, variance and covariance, one dial for each weight.

    Not every combination was trained: the dial that is moved holds its value, and the others go to the nearest run.
    Two collapses are told apart. At a point the features' deviation is gone. On few directions it is there, and so is
    the spread; RankMe and the spectrum show it.

    Args:
        logs: one for each seed, as `results.studies("vicreg-dials")` reads them: each with "seed" and "rows". Rows with
            "curves" are trainings, with the three `WEIGHTS`; the one row without is the untrained network. All have
            "kNN", "deviation of z", "spread of z", and of z and h "RankMe of ..." and "spectrum of ...", log10 of
            deviations along the embeddings' own directions, the largest first.
        recipe: the weights where the dials stand at first, one of the runs. "Few directions" is less than half of
            its RankMe.

    With a kernel `invariance`, `variance`, `covariance` (places in `dials`), `place` ("z" or "h") and `seed` (an index)
    can be read and set.

    Raises:
        ValueError: there is no run, a seed lacks one or the untrained network, or the recipe is not there.
    """

    _esm = source("page.js", "dials.js")
    _css = source("widgets.css", "dials.css")
    runs = traitlets.List().tag(sync=True)  # {weights, seed, knn, deviation, spread, terms, z, h}, seeds outermost
    untrained = traitlets.List().tag(sync=True)  # the same of each seed without weights and terms
    dials = traitlets.List().tag(sync=True)  # the values that each weight has in some run, rising
    recipe = traitlets.List().tag(sync=True)
    seeds = traitlets.List().tag(sync=True)
    invariance = traitlets.Int(0).tag(sync=True)
    variance = traitlets.Int(0).tag(sync=True)
    covariance = traitlets.Int(0).tag(sync=True)
    place = traitlets.Enum(["z", "h"], "z").tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def __init__(self, logs: Sequence[Mapping[str, Any]], recipe: Sequence[float] = (25, 25, 1), **kwargs):
        runs, untrained = [], []
        for log in logs:
            trained = [row for row in log["rows"] if row.get("curves")]
            before = [row for row in log["rows"] if not row.get("curves")]
            if len(before) != 1 or not trained:
                raise ValueError(
                    f"seed {log['seed']} must have runs and one untrained network, got {len(trained)} and {len(before)}"
                )
            untrained.append(_measured(before[0]))
            runs += [_run(row, log["seed"]) for row in trained]
        recipe = list(recipe)
        _check(runs, recipe, [str(log["seed"]) for log in logs])
        dials = [sorted({run["weights"][i] for run in runs}) for i in range(3)]
        at = {term: dials[i].index(recipe[i]) for i, term in enumerate(TERMS)}
        super().__init__(
            runs=runs,
            untrained=untrained,
            dials=dials,
            recipe=recipe,
            seeds=[str(log["seed"]) for log in logs],
            **at | kwargs,
        )


def _check(runs: Sequence[Mapping[str, Any]], recipe: list[float], seeds: Sequence[str]) -> None:
    """All seeds have the same runs, each once, and one of them is the recipe's."""
    if not runs:
        raise ValueError("logs must hold at least one seed")
    if len(runs) > MOST_RUNS:
        raise ValueError(f"a page shows at most {MOST_RUNS} runs, got {len(runs)}")
    trained = {seed: sorted(run["weights"] for run in runs if run["seed"] == seed) for seed in seeds}
    first = trained[seeds[0]]
    for seed, weights in trained.items():
        if weights != first or any(weights.count(each) > 1 for each in weights):
            raise ValueError(f"seed {seed} must have each run of seed {seeds[0]} once, got the weights {weights}")
    if recipe not in first:
        raise ValueError(f"recipe must be one of the runs {first}, got {recipe}")


def _run(row: Mapping[str, Any], seed: object) -> dict[str, Any]:
    """A row of a log, its numbers short; terms are those of the last epoch."""
    terms = [round(row["curves"][term][-1], 4) for term in TERMS]
    return {"weights": [row[weight] for weight in WEIGHTS], "seed": str(seed), "terms": terms, **_measured(row)}


def _measured(row: Mapping[str, Any]) -> dict[str, Any]:
    short = {
        "knn": round(row["kNN"], 3),
        "deviation": round(row["deviation of z"], 4),
        "spread": round(row["spread of z"], 3),
    }
    for place in ("z", "h"):
        spectrum = [round(value, 2) for value in row[f"spectrum of {place}"]]
        short[place] = {"rank": round(row[f"RankMe of {place}"], 2), "spectrum": spectrum}
    return short


def collapse_of(deviation: float, rank: float, whole: float) -> str:
    """What deviation and RankMe of z say, `whole` being the recipe's RankMe: "point", "few directions" or "".

    A point: features deviate by less than a tenth of the 1 that they should. Few directions: they do deviate, and the
    rank is below half of the recipe's.
    """
    if deviation < 0.1:
        return "point"
    return "few directions" if rank < whole / 2 else ""
