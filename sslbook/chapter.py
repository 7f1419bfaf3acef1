"""What chapters do alike: budget and images, watched pictures, the growing table, runs with a part removed, the clock.

The first training of a chapter is spelled out on its page, since it is the lesson; what follows it is here.

>>> lab = chapter.Lab("BYOL")
>>> lab.table(byol.encoder)
"""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import sslbook
from sslbook import budget, evaluate, figures, removals, results
from sslbook.callbacks import Callback, Probe
from sslbook.history import History
from sslbook.ideas import idea
from sslbook.methods import METHODS, Method, reading
from sslbook.pretrain import Run, pretrain
from sslbook.widgets import EmbeddingSphere

YARDSTICKS = {
    "convnet": ("pixels", "random encoder", "supervised"),
    "vit": ("pixels", "random ViT", "supervised ViT"),
    "text": ("word counts", "random Transformer"),
}
PHOTOS = "cifar10-cpu"  # the budget whose logs show real photos
LARGER = {"ResNet": "ResNet-18", "ViT": "ViT-Tiny"}  # what the gpu budget has of a kind


class Lab:
    """The budget, its images and, for the chapter of a method, how to train it. Says on the page what they are.

    Args:
        method: the name of a class of `sslbook.methods`; None for a chapter on no single method.
        images: False for a chapter that trains on images of its own.

    Attributes: `plan` (the `Budget`), `train` and `test` (`ImageSet`), `device`; of a method also `recipe` and
    `entry`, what is registered of it.
    """

    def __init__(self, method: str | None = None, images: bool = True):
        self.started = time.perf_counter()
        self.plan = budget.current()
        self.reads = METHODS[method].reads if method else "images"
        self.device = self.plan.device
        machine = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        print(f"sslbook {sslbook.__version__} · PyTorch {torch.__version__} · {machine} · budget {self.plan.name}")
        if images:
            self.train, self.test = self.plan.load(self.reads)
            print(f"train: {self.train}\ntest:  {self.test}")
        if method is not None:
            self.entry, self.recipe = METHODS[method], self.plan.recipe(method)
            print("the method:", self.recipe.method)
            print("the loop:  ", self.recipe.config["train"])

    @property
    def epochs(self) -> int:
        """How many epochs the method is trained."""
        return self.recipe.train["epochs"]

    def encoder(self, seed: int = 0) -> nn.Module:
        """An untrained encoder of the kind that the method asks for, on the device."""
        return self.plan.encoder(self.entry.encoder, seed)

    def make(self, seed: int = 0, **changes: Any) -> Method:
        """The method from random weights, with some arguments of its recipe changed."""
        return self.plan.make(self.entry.method.__name__, seed, **changes)

    def probe(self, times: int = 10) -> Probe:
        """A kNN on labels about so many times in the training, and after its last epoch. It only watches."""
        return Probe(self.train, self.test, every=max(1, self.epochs // times))

    # -- pictures to watch

    @property
    def watched(self):
        """32 test images, sorted by class."""
        by_class = self.test.labels.argsort(stable=True)
        return self.test[by_class[:: max(1, len(self.test) // 32)][:32]]

    @property
    def names(self) -> list[str]:
        """The class of each watched image."""
        return [self.test.classes[label] for label in self.watched.labels]

    def pairs(self) -> list[Tensor]:
        """Two views of the watched images, each (32, 3, size, size), the same at every call."""
        generator = torch.Generator().manual_seed(9)
        return [view(self.watched.images, generator) for view in self.plan.views]

    def snapshots(self, look: Callable[[Method], Any]) -> Snapshots:
        """A callback that keeps what `look(method)` says before, early in, in the middle and at the end."""
        return Snapshots(look, epochs={0, 1, self.epochs // 8, self.epochs // 2, self.epochs})

    # -- what it did, what it knows

    def curves(self, history: History, *columns: str) -> figures.Picture:
        """A training's columns over the epochs, by default loss and kNN; prints how long it took."""
        rate = self.epochs * len(self.train) / history.seconds
        unit = "texts" if self.reads == "text" else "images"
        print(f"{history.seconds:.0f} s of training, {rate:,.0f} {unit}/s")
        return figures.curves({self.entry.label: history}, columns or ("loss", "knn"))

    def study(self, name: str, *columns: str) -> figures.Table:
        """The rows of a logged study, all columns by default; prints how to make them again.

        Of a study that has a log for each seed, <name>-<seed>, a cell shows the answers of all seeds.
        """
        log = results.study(name)
        logs = [log] if log else results.studies(name)
        minutes = sum(log["minutes"] for log in logs)
        print(f"{minutes:.0f} minutes, {logs[0]['date'][:10]}; again: {logs[0]['again']}")
        columns, rows = columns or tuple(logs[0]["rows"][0]), []
        for same in zip(*(log["rows"] for log in logs)):  # the row of one change in every log
            answers = {column: [row.get(column) for row in same] for column in columns}
            rows.append({column: in_words(of_seeds(values)) for column, values in answers.items()})
        seeds = [log["seed"] for log in logs]
        data = "the sentences" if self.reads == "text" else "the shapes"
        several = f"seeds {', '.join(str(seed) for seed in seeds)}" if len(logs) > 1 else "one seed"
        if isinstance(seeds[0], list):
            several = f"means of {len(seeds[0])} seeds"
        return figures.Table(rows, f"One change at a time ({data}, cpu budget, {several})")

    def table(self, encoder: nn.Module) -> figures.Table:
        """The growing table: yardsticks and the methods before this one from the logs, then this page's run."""
        row = {"encoder": self.entry.label, "network": network_of(self.plan.name, type(encoder).__name__)}
        row |= evaluate.report(encoder, self.train, self.test)
        self.rows = [*logged(self.plan.name, self._known), row]
        if self.plan.name == "cpu":
            self._check(row)
        shown = [*self.rows[:-1], row | {"encoder": f"{self.entry.label} (this run)"}]
        return figures.Table(compact(shown), f"What each encoder knows ({self.train.name}, {self.plan.name} budget)")

    def _check(self, row: dict[str, Any]) -> None:
        """The text speaks of a training that went as in the logs: stop if this page's did not."""
        logs = results.read(self.plan.name, self.entry.method.__name__)
        for question in self.recipe.expected:
            logged = [log["report"][question] for log in logs]
            low, high = min(logged) - 0.1, max(logged) + 0.1
            if not low <= row[question] <= high:
                raise AssertionError(f"{question} is {row[question]:.3f}, the logs have {min(logged)} to {max(logged)}")

    def photos(self) -> figures.Table:
        """The growing table on CIFAR-10, all of it from logs, and how this method's were made."""
        name = self.entry.method.__name__
        for log in [*results.read(PHOTOS, name), *results.read("gpu", name)]:
            print(results.describe(log))
        asked = [known for known in [*self._known, name] if known != "pixels"]
        rows = logged(PHOTOS, asked) + logged("gpu", asked)
        return figures.Table(
            compact(rows), "CIFAR-10: a small encoder on a CPU; where there is a log, a larger on a GPU"
        )

    @property
    def _known(self) -> list[str]:
        """Yardsticks, and the methods before this one."""
        comparable = list(reading(self.entry.reads))
        before = comparable[: comparable.index(self.entry.method.__name__)]
        return [*YARDSTICKS[self.entry.encoder], *before]

    # -- remove a part

    def break_it(
        self,
        changes: Mapping[str, Mapping[str, Any]],
        *,
        epochs: float = 1.0,
        images: float = 1.0,
        z: Callable[[Method], nn.Module] | None = None,
        measure: Callable[[Method], Mapping[str, float]] | None = None,
        **training: Any,
    ) -> Broken:
        """Train the method once for each change from the same start, and ask all of them the same.

        Args:
            changes: for each name the arguments of the method that differ from the recipe; {} is the healthy control.
            epochs, images: fractions of the recipe's epochs and of the images, for runs that need not be long.
            z: from a method to the network whose outputs are watched for 256 test images, after every epoch, as the
                loss sees them (`evaluate.embed_batch`).
            measure: more columns, measured after the training.
            training: arguments of `pretrain` that differ from the recipe.
        """
        few = self.train[: int(images * len(self.train))]
        settings = self.recipe.train | dict(epochs=max(2, int(epochs * self.epochs))) | training
        broken = Broken(self.entry.label, few, self.test, settings["epochs"], measure)
        broken.untrained = broken.ask(self.make(), z)
        for name, change in changes.items():
            method = self.make(**change)
            points = Snapshots(lambda method: evaluate.embed_batch(z(method), broken.watched).cpu())
            history = pretrain(method, few, **settings, callbacks=[points] if z else [])
            row = {"last loss": history["loss"][-1]} | broken.ask(method, z)
            broken.runs[name] = Variant(method, history, points.by_epoch, row)
        return broken

    def removed(self) -> figures.Table:
        """The method complete and without each of its parts, from logs of full length; prints how they were made.

        Afterwards they stand in `patients`, by name.
        """
        name = self.entry.method.__name__
        self.patients = removals.logged(name)
        minutes = sum(results.study(f"collapse-{seed}")["minutes"] for seed in removals.SEEDS)
        again = f"python experiments/collapse.py --method {name} --seed 0 (1, 2)"
        print(f"from logs of {len(removals.SEEDS)} seeds, {minutes:.0f} minutes for all methods; again: {again}")
        print(removals.RULE)
        rows = removals.table(self.patients.values(), lambda patient: patient.name)
        chance = 1 / len(self.test.classes)
        caption = f"{self.entry.label}: mean (lowest–highest) of three seeds; kNN and linear by chance {chance:.3f}"
        return figures.Table(rows, caption)

    def clock(self) -> None:
        """The last line of a page."""
        seconds = time.perf_counter() - self.started
        print(f"This page's code took {seconds:.0f} s ({self.plan.name} budget, {self.plan.device}).")


class Snapshots(Callback):
    """Keeps what `look(method)` says after each epoch of `epochs`, all by default: `by_epoch`."""

    def __init__(self, look: Callable[[Method], Any], epochs: set[int] | None = None):
        self.look, self.epochs, self.by_epoch = look, epochs, {}

    def start(self, run: Run) -> None:
        self.keep(run.epoch, run.method)

    def after_epoch(self, run: Run) -> None:
        self.keep(run.epoch, run.method)

    def keep(self, epoch: int, method: Method) -> None:
        if self.epochs is None or epoch in self.epochs:
            self.by_epoch[epoch] = self.look(method)


@dataclass
class Variant:
    """One of the runs of `Lab.break_it`."""

    method: Method
    history: History
    points: dict[int, Tensor]  # z of the watched images after each epoch
    row: dict[str, float]


@dataclass
class Broken:
    """The runs of `Lab.break_it`, beside the network before any training."""

    label: str
    images: Any
    test: Any
    epochs: int
    measure: Callable[[Method], Mapping[str, float]] | None
    untrained: dict[str, float] = field(default_factory=dict)
    runs: dict[str, Variant] = field(default_factory=dict)

    @property
    def watched(self):
        """256 test images."""
        return self.test[:256]

    def __getitem__(self, name: str) -> dict[str, float]:
        """A run's row of the table."""
        return self.runs[name].row

    def ask(self, method: Method, z: Callable[[Method], nn.Module] | None) -> dict[str, float]:
        """What the table says of a method."""
        row = {}
        if z is not None:
            points = evaluate.embed_batch(z(method), self.watched)
            row |= {"spread of z": evaluate.spread(points), "RankMe of z": evaluate.rankme(points)}
        if self.measure is not None:
            row |= self.measure(method)
        known, new = (evaluate.embed(method.encoder, images) for images in (self.images, self.test))
        k = evaluate.neighbours(self.images.labels)
        return row | {"kNN": evaluate.knn(known, self.images.labels, new, self.test.labels, k=k)}

    def table(self) -> figures.Table:
        """One row a run, the untrained network first."""
        columns = next(iter(self.runs.values())).row
        first = {self.label: "untrained"} | {column: self.untrained.get(column) for column in columns}
        rows = [first, *({self.label: name} | run.row for name, run in self.runs.items())]
        chance = 1 / len(self.test.classes)
        caption = f"After {self.epochs} epochs on {len(self.images):,} images; kNN by chance is {chance:.3f}"
        return figures.Table(rows, caption)

    def series(self) -> dict[str, dict[str, list]]:
        """Loss, spread and RankMe of each run over the epochs; the loss begins after the first."""
        spread, rank = (
            {name: [measure(z) for z in run.points.values()] for name, run in self.runs.items()}
            for measure in (evaluate.spread, evaluate.rankme)
        )
        losses = {name: [None, *run.history["loss"]] for name, run in self.runs.items()}
        return {"loss": losses, "spread": spread, "RankMe": rank}

    def curves(self) -> figures.Picture:
        """Loss, spread and RankMe of z over the epochs, one line for each run."""
        return figures.panels(self.series(), xlabel="epoch")

    def sphere(self, *names: str) -> EmbeddingSphere:
        """z of the watched images on the sphere, two runs side by side."""
        points = {name: run.points for name, run in self.runs.items()}
        return EmbeddingSphere(points, self.watched.labels, self.test.classes, self.series(), *names)


def logged(budget: str, encoders: list[str]) -> list[dict[str, Any]]:
    """Rows of the growing table from the logs, with the methods' labels and the kind of each network."""
    table = []
    for row in results.rows(budget, encoders):
        name = row["encoder"]
        network = "none" if name == "pixels" else network_of(budget, results.read(budget, name)[0]["encoder"])
        table.append({"encoder": name, "network": network} | row)
    return labelled(table)


def network_of(budget: str, kind: str) -> str:
    """What a table calls a kind of network: the gpu budget has larger ones."""
    return LARGER.get(kind, kind) if budget == "gpu" else kind


def labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table with the methods' labels instead of their names."""
    labels = {name: entry.label for name, entry in METHODS.items()}
    return [row | {"encoder": labels.get(row["encoder"], row["encoder"])} for row in rows]


def compact(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, without their column "network" where all encoders are of one kind."""
    if len({row["network"] for row in rows} - {"none"}) > 1:
        return rows
    return [{question: answer for question, answer in row.items() if question != "network"} for row in rows]


def of_seeds(values: list[Any]) -> Any:
    """The answers of several seeds: one if they have but one, None if they have none."""
    if None in values:
        return None
    return values[0] if len(values) == 1 or isinstance(values[0], str) else values


def in_words(value: Any) -> Any:
    """A cell of a table: the numbers of several seeds in one text, all else as it is."""
    return ", ".join(f"{x:.2f}" for x in value) if isinstance(value, list) else value


def show_source(*parts: Any):
    """The package's own source of classes and functions, as a page shows it."""
    from IPython.display import Code

    sources = [textwrap.dedent(inspect.getsource(part)) for part in parts]
    return Code("\n\n".join(sources), language="python")


__all__ = ["Broken", "Lab", "Snapshots", "Variant", "idea", "labelled", "show_source"]
