"""What becomes of a method without one of its parts, by the logs of `experiments/collapse.py`: three seeds of each.

>>> simsiam = removals.logged("SimSiam")
>>> simsiam["without stop-gradient"].values("RankMe of z")
>>> removals.table(simsiam.values())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from sslbook import results
from sslbook.methods import METHODS
from sslbook.patients import PATIENTS

SEEDS = (0, 1, 2)
DIGITS = {"last loss": 2, "spread of z": 2, "RankMe of z": 1, "kNN": 2, "linear": 2}  # of each question
CURVES = {"last loss": "loss", "spread of z": "spread", "RankMe of z": "RankMe"}
RULE = (
    "Collapses: spread or RankMe of z below a quarter of the complete method's, in every seed.\n"
    "Hurts: no collapse, but in every seed linear or kNN below the complete method's worst seed."
)


@dataclass(frozen=True)
class Patient:
    """A method without one of its parts (None: complete), and its row in the log of each seed."""

    method: str
    part: str | None
    rows: Sequence[dict[str, Any]]
    whole: Patient | None = None  # the complete method; None if this is it

    @property
    def name(self) -> str:
        """What is gone, in words."""
        if self.part is None:
            return "complete"
        return f"with {self.part.split(', ')[1]}" if ", " in self.part else f"without {self.part}"

    @property
    def title(self) -> str:
        """Method and name."""
        label = METHODS[self.method].label
        return f"{label}, complete" if self.part is None else f"{label} {self.name}"

    def values(self, question: str) -> list[float]:
        """The answer of each seed at the end, to a key of `DIGITS`."""
        if question in CURVES:
            return [row["curves"][CURVES[question]][-1] for row in self.rows]
        return [row[question] for row in self.rows]

    def untrained(self, question: str) -> list[float]:
        """The same before the first epoch; a loss needs an epoch, so there is none: []."""
        if question == "last loss":
            return []
        if question in CURVES:
            return [row["curves"][CURVES[question]][0] for row in self.rows]
        return [row["untrained"][question] for row in self.rows]

    def curve(self, column: str, seed: int = 0) -> list[float | None]:
        """One seed's course from epoch 0 on, a key of the log's "curves".

        The loss begins after the first epoch; kNN, asked at some epochs only, is interpolated between them.
        """
        row = self.rows[seed]
        values, epochs = row["curves"][column], len(row["curves"]["loss"])
        if column == "loss":
            return [None, *values]
        if column != "knn":
            return list(values)
        every = max(1, epochs // 8)
        asked = [0, *(epoch for epoch in range(1, epochs + 1) if epoch % every == 0 or epoch == epochs)]
        return np.interp(range(epochs + 1), asked, [row["untrained"]["kNN"], *values]).tolist()

    @property
    def fallen(self) -> list[bool]:
        """Of each seed: is z collapsed at the end, by `RULE`?"""
        whole = self.whole or self
        spread, rank = (
            [mine < theirs / 4 for mine, theirs in zip(self.values(question), whole.values(question))]
            for question in ("spread of z", "RankMe of z")
        )
        return [one or other for one, other in zip(spread, rank)]

    @property
    def verdict(self) -> str:
        """By `RULE`; "" for the complete method."""
        if self.whole is None:
            return ""
        if all(self.fallen):
            return "collapses"
        if any(self.fallen):
            return f"collapses in {sum(self.fallen)} of {len(self.rows)} seeds"
        worse = any(max(self.values(q)) < min(self.whole.values(q)) for q in ("linear", "kNN"))
        return "hurts" if worse else "no worse here"


def logged(method: str) -> dict[str, Patient]:
    """A method's patients by name, the complete one first.

    Raises FileNotFoundError if a seed's log is not there, KeyError if a patient's row is missing in it.
    """
    logs = [results.study(f"collapse-{seed}") for seed in SEEDS]
    if None in logs:
        name = f"results/studies/collapse-{logs.index(None)}.json"
        raise FileNotFoundError(f"{name} is not there: it lies in the book's repository")
    rows = [{(row["method"], row["part"]): row for row in log["rows"]} for log in logs]
    whole = Patient(method, None, [known[method, None] for known in rows])
    others = [Patient(method, part, [known[method, part] for known in rows], whole) for part in PATIENTS[method][1:]]
    return {patient.name: patient for patient in (whole, *others)}


def table(patients: Iterable[Patient], called: Callable[[Patient], str] | None = None) -> list[dict[str, str]]:
    """Rows for `figures.Table`: each method untrained, complete and without each part; "mean (lowest–highest)".

    `called` says what a row is named, by default the patient's title.
    """
    called, rows = called or (lambda patient: patient.title), []
    for patient in patients:
        if patient.whole is None:
            label = called(patient).replace("complete", "untrained")
            rows.append({"run": label} | {q: shown(patient.untrained(q), digits) for q, digits in DIGITS.items()})
        answers = {question: shown(patient.values(question), digits) for question, digits in DIGITS.items()}
        rows.append({"run": called(patient)} | answers | {"verdict": patient.verdict})
    return rows


def shown(values: Sequence[float], digits: int) -> str:
    """Mean and range in words; a dash for none."""
    if not values:
        return "–"
    mean, low, high = (f"{x:.{digits}f}" for x in (fmean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low}–{high})"
