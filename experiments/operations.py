"""What does each operation of the views make an encoder forget? SimCLR with one of them taken away at a time.

    python experiments/operations.py --seed 0           # about 15 CPU-minutes
    python experiments/operations.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/operations-<seed>.json: a row for the untrained network, one for the recipe of the cpu budget,
one for each operation that it goes without, and two for other projectors. In each row stands, of h and of z, what
`evaluate.report` asks and which share of each factor of the shapes a linear fit explains (eval mode: each picture by
itself). Rows that the log holds are not made again.
"""

from dataclasses import replace
from typing import Any

from study_options import study_parser
from torch import nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.images import ImageSet
from sslbook.methods import Method
from sslbook.patients import to_z
from sslbook.pretrain import pretrain
from sslbook.views import Views

METHOD = "SimCLR"
OPERATIONS = {  # what an `Augmentation` is told for a view without it
    "crop": dict(scale=(1.0, 1.0), ratio=(1.0, 1.0)),  # the whole picture, resized
    "flip": dict(flip=0.0),
    "jitter": dict(jitter=0.0),
    "hue": dict(hue=0.0),  # the part of the jitter that turns the hue
    "grey": dict(grey=0.0),
}
PROJECTORS = ("linear", "none")
RUNS = ("untrained", "complete", *(f"without {operation}" for operation in OPERATIONS))
RUNS += tuple(f"projector: {projector}" for projector in PROJECTORS)


def views_of(plan: Budget, run: str) -> Views:
    """The recipe's views, or those without one operation."""
    change = OPERATIONS.get(run.removeprefix("without "), {})
    return Views(replace(view, **change) for view in plan.views)


def make(plan: Budget, run: str, seed: int) -> Method:
    """SimCLR from random weights, with another projector where the run is about that."""
    method = plan.make(METHOD, seed)
    dim = method.projector[-1].num_features
    if run == "projector: none":
        method.projector = nn.Identity()
    elif run == "projector: linear":
        method.projector = mlp_head([features_dim(method.encoder), dim], norm_output=True)
    return method


def knows(network: nn.Module, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """What can be read off a network's outputs, and the factors' shares of explained variance."""
    x, y = evaluate.embed(network, train), evaluate.embed(network, test)
    report = evaluate.report(lambda images: x if images is train else y, train, test)
    return report | dict(factors=evaluate.explained_factors(x, train.factors, y, test.factors))


def row_of(plan: Budget, run: str, seed: int, *, epochs: int | None = None) -> dict[str, Any]:
    """Train once, and ask h and z."""
    train, test = plan.load()
    method = make(plan, run, seed)
    settings = plan.recipe(METHOD).train | dict(views=views_of(plan, run))
    if epochs is not None:
        settings |= dict(epochs=epochs)
    loss = []
    if run != "untrained":
        loss = pretrain(method, train, seed=seed, show_progress=False, **settings)["loss"]
    return dict(run=run, h=knows(method.encoder, train, test), z=knows(to_z(method), train, test), loss=loss)


def main() -> None:
    parser = study_parser(__doc__)
    arguments = parser.parse_args()
    plan, name = BUDGETS["cpu"], f"operations-{arguments.seed}"
    if arguments.small:
        plan = replace(plan, train=512, test=256)
    again = f"python experiments/operations.py --seed {arguments.seed}"
    study = results.Study(name, dry=arguments.small, seed=arguments.seed, method=METHOD, again=again)
    for run in RUNS:
        if study.has(run=run):
            continue
        row = row_of(plan, run, arguments.seed, epochs=1 if arguments.small else None)
        for place in ("h", "z"):
            factors = ", ".join(f"{factor} {share:.2f}" for factor, share in row[place]["factors"].items())
            print(f"{run}, {place}: kNN {row[place]['kNN']:.3f}, {factors}", flush=True)
        study.add(row)


if __name__ == "__main__":
    main()
