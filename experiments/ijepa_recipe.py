"""What I-JEPA needs in order to learn on the shapes: its recipe, and the same with one change.

    python experiments/ijepa_recipe.py --seed 0     # 1, 2; about 25 CPU-minutes each
    python experiments/ijepa_recipe.py --seed 0 --small    # does it run at all? Nothing is written

writes results/studies/ijepa-recipe-<seed>.json. The images are not those that the book reports on. Beside the loss
stand R2 and std, which tell prediction from collapse, and what the features know of each factor. Rows that the log
holds are not made again.
"""

import time
from dataclasses import replace
from typing import Any

from study_options import study_parser

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.views import Views

IMAGES = 100
UNTRAINED, AFTER_MAE = "untrained", "latents on top of an MAE"
BLOCKS = dict(scattered=False, blocks=4, smallest=0.15, largest=0.2, flattest=0.75, tallest=1.5, least=0.85)
ALONE = dict(pixels=0.0)
coloured = dict(jitter=0.8, brightness=0.2, contrast=0.2, saturation=0.4, hue=0.5, grey=0.2)
CHANGES: dict[str, dict[str, Any]] = {  # arguments that differ from the recipe
    UNTRAINED: {},
    "the recipe": {},
    "latents alone": ALONE,
    "pixels as targets": dict(latents=0.0),
    "the paper's blocks": BLOCKS,
    "the paper's blocks, latents alone": BLOCKS | ALONE,
    "the same, no slow target": BLOCKS | ALONE | dict(tau=0.0, schedule=False),
    "latents alone, less what a place has in common": ALONE | dict(norm="position"),
    "latents alone, one colour jitter for both branches": ALONE,
    AFTER_MAE: ALONE,
}


def settings_of(plan: Budget, name: str, epochs: int) -> dict[str, Any]:
    """Arguments of `pretrain`."""
    settings = plan.recipe("IJEPA").train | dict(epochs=epochs)
    if "jitter" in name:
        settings["views"] = Views(replace(view, **coloured) for view in settings["views"])
    return settings


def trained(plan: Budget, name: str, seed: int, train: ImageSet, epochs: int) -> tuple[Any, dict[str, float]]:
    """The method after its training, and the last row of its history."""
    method, settings = plan.make("IJEPA", seed, **CHANGES[name]), settings_of(plan, name, epochs)
    if name == UNTRAINED:
        return method, {}
    if name == AFTER_MAE:  # as many steps in all: half of them for pixels
        first = plan.make("MAE", seed)
        before = plan.recipe("MAE").train | dict(epochs=max(1, epochs // 2))
        pretrain(first, train, seed=seed, show_progress=False, **before)
        for network in (method.encoder, method.student):
            network.load_state_dict(first.encoder.state_dict())
        settings["epochs"] = max(1, epochs - epochs // 2)
    history = pretrain(method, train, seed=seed, show_progress=False, **settings)
    return method, history.epochs[-1]


def row_of(plan: Budget, name: str, seed: int, sets_: tuple[ImageSet, ImageSet], epochs: int) -> dict[str, Any]:
    """What came of the recipe with one change."""
    train, test = sets_
    cpu = time.process_time()
    method, last = trained(plan, name, seed, train, epochs)
    row = {"I-JEPA": name, "CPU-seconds": time.process_time() - cpu}
    row |= {"last loss": last.get("loss"), "R2": last.get("R2"), "std": last.get("std")}
    report = evaluate.report(method.encoder, train, test)
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    known, asked = (evaluate.embed(method.encoder, images) for images in (train, test))
    return row | {"factors": evaluate.explained_factors(known, train.factors, asked, test.factors)}


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--only", nargs="*", default=list(CHANGES), help="these rows")
    options = parser.parse_args()
    plan = BUDGETS["cpu"]
    epochs = plan.recipe("IJEPA").train["epochs"]
    if options.small:
        plan, epochs = replace(plan, train=256, test=128), 2
    both = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    again = f"python experiments/ijepa_recipe.py --seed {options.seed}"
    name, recipe = f"ijepa-recipe-{options.seed}", plan.recipe("IJEPA")
    config = recipe.config | dict(images=IMAGES)
    study = results.Study(name, dry=options.small, config=config, seed=options.seed, epochs=epochs, again=again)
    for change in options.only:
        if not study.has(**{"I-JEPA": change}):
            row = row_of(plan, change, options.seed, both, epochs)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
            study.add(row)


if __name__ == "__main__":
    main()
