"""A recipe for GAN on the shapes, one change at a time, on other pictures than those that the book reports on.

    python experiments/gan_recipe.py           # some 6 CPU-minutes
    python experiments/gan_recipe.py --small   # does it run at all? Nothing is written

writes results/studies/gan-recipe.json. All rows are trained for EPOCHS, fewer than the recipe's. What is asked is what
`gan_study.py` asks. Rows that the log holds are not made again.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.samples import Judge, classes_drawn

EPOCHS, IMAGES, SEED = 4, 100, 0
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what is changed: arguments of GAN, of pretrain
    "the recipe": ({}, {}),
    "twice the rate": ({}, {"lr": 2e-3}),
    "spectral norm": ({"spectral": True}, {}),
    "gamma .5": ({"penalty": 0.5}, {}),
    "beta1 0": ({"beta1": 0.0}, {}),
    "hinge": ({"loss": "hinge"}, {}),
    "batches of 32": ({}, {"batch_size": 32}),
}


def row_of(name: str, plan: Budget, judge: Judge, *, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method, cpu = plan.make("GAN", SEED, **method_change), time.process_time()
    settings = plan.recipe("GAN").train | {"epochs": plan.epochs} | train_change
    history = pretrain(method, train, seed=SEED, show_progress=False, **settings)
    cpu, painted = time.process_time() - cpu, method.sample(len(test), SEED)
    report = evaluate.report(method.encoder, train, test)
    return {
        "GAN": name,
        "kNN": report["kNN"],
        "linear": report["linear"],
        "Fréchet": judge.frechet(test, painted),
        "shapes drawn": classes_drawn(judge.classes(painted)),
        "right": history["discriminator right"][-1],
        "CPU-seconds": cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="one epoch of few images, nothing is written")
    small = parser.parse_args().small
    plan = replace(BUDGETS["cpu"], epochs=EPOCHS)
    if small:
        plan = replace(plan, train=256, test=256, epochs=1)
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    judge = Judge(train, test, epochs=1 if small else 12)
    config = plan.recipe("GAN").config | {"images": IMAGES, "epochs": plan.epochs}
    again = "python experiments/gan_recipe.py"
    study = results.Study("gan-recipe", dry=small, config=config, seed=SEED, again=again)
    for name in CHANGES:
        if not study.has(GAN=name):
            study.add(row_of(name, plan, judge, train=train, test=test))
            print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
