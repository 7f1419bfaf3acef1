"""What BYOL needs in order to learn on the shapes: its recipe, and the same with one thing changed, three seeds each.

    python experiments/byol_recipe.py

writes results/studies/byol-recipe.json. The images are not those that the book reports on.
"""

from statistics import fmean

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.methods.registry import sgd
from sslbook.pretrain import pretrain

SEEDS, IMAGES = (0, 1, 2), 100
plan = BUDGETS["cpu"]
recipe = plan.recipe("BYOL")
CHANGES = {  # what is changed: arguments of BYOL, of pretrain
    "the recipe": ({}, {}),
    "SGD": ({}, sgd(0.1)),
    "SGD, and the predictor ten times as fast": ({"predictor_lr": 10.0}, sgd(0.1)),
}


def row_of(name: str, train, test) -> dict:
    """Means over the seeds of what came of the recipe with one change, and each seed's kNN."""
    method_change, train_change = CHANGES[name]
    answers = []
    for seed in SEEDS:
        method = plan.make("BYOL", seed, **method_change)
        history = pretrain(method, train, seed=seed, show_progress=False, **recipe.train | train_change)
        report = evaluate.report(method.encoder, train, test)
        answers.append({"last loss": history["loss"][-1], "kNN": report["kNN"], "linear": report["linear"]})
    row = {"BYOL": name} | {key: fmean(answer[key] for answer in answers) for key in answers[0]}
    return row | {"kNN of each seed": [answer["kNN"] for answer in answers]}


def main() -> None:
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES)
    study = results.Study(
        "byol-recipe", keep=False, config=config, seed=SEEDS, again="python experiments/byol_recipe.py"
    )
    for name in CHANGES:
        study.add(row_of(name, train, test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
