"""Which method for my problem? Six questions, and what each answer speaks for or against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anywidget
import traitlets

from sslbook.widgets._source import source

DECIDES = 20  # points where nothing else matters; a hint has 1, a clear advantage 2 to 4


class Source(NamedTuple):
    name: str  # what a reason calls it
    where: str  # a page of the book, or an address


class Effect(NamedTuple):
    points: int
    reason: str
    source: str  # a key of SOURCES, and where in it after a comma


class Option(NamedTuple):
    text: str
    effects: dict[str, Effect]  # by method


class Question(NamedTuple):
    text: str
    options: dict[str, Option]


# All that is shown or ranked stands in choosing.json: the questions, and a method's page, effects and sources together.
# A new method is a new entry there; `others` is what an answer says of the methods with no effect of their own for it.
# Methods with equal points keep the order of the file.
_GUIDE = json.loads((Path(__file__).parent / "choosing.json").read_text(encoding="utf-8"))


def _effects(key: str, option: str) -> dict[str, Effect]:
    """What this answer speaks for or against, by method."""
    others = _GUIDE["others"].get(key, {}).get(option)
    effects = {}
    for method, entry in _GUIDE["methods"].items():
        effect = entry["effects"].get(key, {}).get(option, others)
        if effect is not None:
            effects[method] = Effect(**effect)
    return effects


def _question(key: str, text: str, options: dict[str, str]) -> Question:
    return Question(text, {option: Option(words, _effects(key, option)) for option, words in options.items()})


QUESTIONS = {key: _question(key, **question) for key, question in _GUIDE["questions"].items()}
METHODS = {method: entry["page"] for method, entry in _GUIDE["methods"].items()}  # and the page that explains them
SOURCES = {  # by their key in references.bib, or a name of ours
    key: Source(**source)
    for sources in [_GUIDE["sources"], *(entry["sources"] for entry in _GUIDE["methods"].values())]
    for key, source in sources.items()
}


class Ranked(NamedTuple):
    """A method's place: the sum of the points that the answers give it, and the answers' effects, in their order."""

    method: str
    points: int
    effects: list[Effect]


class ChoosingGuide(anywidget.AnyWidget):
    """Which method for my problem? Radio buttons, and the methods in order, with the reason for each point.

    A rule of thumb that says why, and no oracle: points are added up, so what matters most to you may be outvoted.

    Args:
        answers: {question: option}, by the keys of `QUESTIONS`, chosen at first; what is left out is open.

    With a kernel `answers` can be read and set, and `ChoosingGuide.rank(guide.answers)` is what the page shows.

    Raises:
        ValueError: there is no such question or option (TraitError if it is set later).
    """

    _esm = source("page.js", "choosing.js")
    _css = source("widgets.css", "choosing.css")
    # Lists, since a page sorts the keys of a dict
    methods = traitlets.List().tag(sync=True)  # [[method, its page]]
    sources = traitlets.List().tag(sync=True)  # [[name, page or address]]
    questions = traitlets.List().tag(sync=True)  # [[key, text, [[key, text, effects]]]], effects as `_shown` has them
    answers = traitlets.Dict().tag(sync=True)

    def __init__(self, answers: Mapping[str, str] | None = None, **kwargs):
        _check(answers or {})
        super().__init__(
            methods=[list(method) for method in METHODS.items()],
            questions=[
                [key, question.text, [[k, option.text, _shown(option)] for k, option in question.options.items()]]
                for key, question in QUESTIONS.items()
            ],
            sources=[list(source) for source in SOURCES.values()],
            answers=dict(answers or {}),
            **kwargs,
        )

    @traitlets.validate("answers")
    def _known(self, proposal):
        try:
            _check(proposal["value"])
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from error
        return proposal["value"]

    @staticmethod
    def rank(answers: Mapping[str, str]) -> list[Ranked]:
        """All methods, the one with the most points first."""
        _check(answers)
        chosen = [question.options[answers[key]].effects for key, question in QUESTIONS.items() if key in answers]
        ranked = []
        for method in METHODS:
            effects = [option[method] for option in chosen if method in option]
            ranked.append(Ranked(method, sum(effect.points for effect in effects), effects))
        return sorted(ranked, key=lambda row: -row.points)


def _check(answers: Mapping[str, str]) -> None:
    for key, option in answers.items():
        if key not in QUESTIONS:
            raise ValueError(f"there is no question {key!r}; there are {', '.join(QUESTIONS)}")
        if option not in QUESTIONS[key].options:
            raise ValueError(f"{key!r} can't be answered {option!r}, but {', '.join(QUESTIONS[key].options)}")


def _shown(option: Option) -> list[list]:
    """An option's effects, each once: [its methods, points, reason, source, where in it].

    Methods and sources are places in `METHODS` and `SOURCES`: a page holds all of this as text, and names are long.
    """
    methods: dict[Effect, list[int]] = {}
    for place, method in enumerate(METHODS):
        if method in option.effects:
            methods.setdefault(option.effects[method], []).append(place)
    rows = []
    for (points, reason, where), places in methods.items():
        key, comma, at = where.partition(",")
        rows.append([places, points, reason, list(SOURCES).index(key), comma + at])
    return rows
