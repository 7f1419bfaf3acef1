"""What SwAV needs in order to learn on the shapes: its recipe, and the same with one thing changed.

    python experiments/swav_recipe.py --seed 0     # 1, 2; about 8 CPU-minutes each
    python experiments/swav_recipe.py --seed 0 --small    # does it run at all? Nothing is written

writes results/studies/swav-recipe-<seed>.json. The images are not those that the book reports on. Codes are looked at
as the loss sees them, of 512 test images, with this batch's statistics. Rows that the log holds are not made again.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from study_options import study_parser

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.losses import sinkhorn
from sslbook.methods import SwAV
from sslbook.methods.registry import adamw
from sslbook.pretrain import pretrain
from sslbook.views import multi_crop, shapes_views

IMAGES, WATCHED = 100, 512
UNTRAINED = "untrained"
small_crops = dict(views=multi_crop(shapes_views(24), small=16, number=2, scale=(0.1, 0.3)))
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what is changed: arguments of SwAV, of pretrain
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "no Sinkhorn": ({"iterations": 0}, {}),
    "epsilon 1": ({"epsilon": 1.0}, {}),
    "epsilon .05, the paper's": ({"epsilon": 0.05}, {}),
    "8 prototypes": ({"K": 8}, {}),
    "prototypes never frozen": ({"frozen": 0.0}, {}),
    "AdamW": ({}, adamw(2e-3)),
    "two small crops more": ({}, small_crops),
}


@torch.no_grad()
def codes_of(method: SwAV, images: ImageSet) -> torch.Tensor:
    """Q of a batch, on a copy in training mode."""

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.method = method

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.method.scores(self.method.project(x))

    return sinkhorn(evaluate.embed_batch(Scores(), images), method.epsilon, method.iterations)


def row_of(name: str, seed: int, train: ImageSet, test: ImageSet, epochs: int | None) -> dict[str, Any]:
    """What came of the recipe with one change."""
    plan = BUDGETS["cpu"]
    method_change, train_change = CHANGES[name]
    method = plan.make("SwAV", seed, **method_change)
    settings = plan.recipe("SwAV").train | train_change | ({"epochs": epochs} if epochs else {})
    row, cpu = {"SwAV": name, "last loss": None, "curves": None}, time.process_time()
    if name != UNTRAINED:
        history = pretrain(method, train, seed=seed, show_progress=False, **settings)
        columns = ("loss", "prototypes used", "assignment sharpness")
        row |= {"last loss": history["loss"][-1], "curves": {column: history[column] for column in columns}}
    row["CPU-seconds"] = time.process_time() - cpu
    report = evaluate.report(method.encoder, train, test)
    codes = codes_of(method, test[:WATCHED])
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    return row | {
        "prototypes used": evaluate.prototypes_used(codes),
        "assignment sharpness": evaluate.assignment_sharpness(codes),
    }


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--only", choices=CHANGES, help="this row")
    arguments = parser.parse_args()
    plan = BUDGETS["cpu"]
    if arguments.small:
        plan = replace(plan, train=512, test=512)
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    recipe = plan.recipe("SwAV")
    config = recipe.config | dict(images=IMAGES)
    again = f"python experiments/swav_recipe.py --seed {arguments.seed}"
    name = f"swav-recipe-{arguments.seed}"
    study = results.Study(name, dry=arguments.small, config=config, seed=arguments.seed, again=again)
    for change in [arguments.only] if arguments.only else CHANGES:
        if not study.has(SwAV=change):
            study.add(row_of(change, arguments.seed, train, test, 1 if arguments.small else None))
            print({key: value for key, value in study.rows[-1].items() if key != "curves"}, flush=True)


if __name__ == "__main__":
    main()
