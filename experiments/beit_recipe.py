"""What BEiT needs in order to learn on the shapes: its recipe, and the same with one thing changed.

    python experiments/beit_recipe.py   # about 25 CPU-minutes

writes results/studies/beit-recipe.json. The images are not those that the book reports on. Rows that the log holds are
not made again.
"""

from dataclasses import replace

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.views import crop_views

SEED, IMAGES = 0, 100
plan = BUDGETS["cpu"]
recipe = plan.recipe("BEiT")
jitter = {name: getattr(plan.views[0], name) for name in ("jitter", "brightness", "contrast", "saturation", "hue")}
UNTRAINED = "untrained"
CHANGES = {  # what is changed: arguments of BEiT, of pretrain
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "half the epochs": ({}, {"epochs": recipe.train["epochs"] // 2}),
    "scattered masks": ({"blockwise": False}, {}),
    "half the rate": ({}, {"lr": recipe.train["lr"] / 2}),
    "40 % hidden": ({"mask_ratio": 0.4}, {}),
    "128 codes": ({"k": 128}, {}),
    "with colour jitter": ({}, {"views": [replace(view, **jitter) for view in recipe.train["views"]]}),
    "batches of 64": ({}, {"batch_size": 64}),
    "32 codes": ({"k": 32}, {}),
    "smaller crops": ({}, {"views": crop_views(32, 0.2)}),
}


def row_of(name: str, train: ImageSet, test: ImageSet) -> dict:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method, row = plan.make("BEiT", SEED, **method_change), {"BEiT": name}
    if name != UNTRAINED:
        settings = recipe.train | train_change
        history = pretrain(method, train, seed=SEED, show_progress=False, **settings)
        row |= {"accuracy": history["accuracy"][-1], "seconds": history.seconds}
    report = evaluate.report(method.encoder, train, test)
    return row | {question: report[question] for question in ("kNN", "linear", "linear, hue")}


def main() -> None:
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES)
    study = results.Study("beit-recipe", config=config, seed=SEED, again="python experiments/beit_recipe.py")
    for name in CHANGES:
        if study.has(BEiT=name):
            continue
        study.add(row_of(name, train, test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
