"""Does LeJEPA's loss predict the accuracy? Eight recipes, a quarter of the length: last losses beside kNN and linear.

    python experiments/lejepa_recipe.py --seed 0   # 1, 2; about 5 CPU-minutes each

writes results/studies/lejepa-recipe-<seed>.json. The images are not those that the book reports on. Rows that the log
holds are not made again. `evaluate.spearman` of the log's rows is what the chapter shows.
"""

import argparse
import copy
import time

import torch

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.methods.lejepa import prediction_error, random_directions, sigreg
from sslbook.pretrain import pretrain

IMAGES = 100
plan = BUDGETS["cpu"]
recipe = plan.recipe("LeJEPA")
lambd, slices, dim = (recipe.method[name] for name in ("lambd", "slices", "dim"))
SHORT = recipe.train | {"epochs": recipe.train["epochs"] // 4}
CHANGES = {  # what is changed: arguments of LeJEPA, of pretrain
    "the recipe": ({}, {}),
    "a fifth of lambda": ({"lambd": lambd / 5}, {}),
    "four times lambda": ({"lambd": 4 * lambd}, {}),
    "8 slices": ({"slices": 8}, {}),
    "a quarter of the width of z": ({"dim": dim // 4}, {}),
    "four times the width of z": ({"dim": 4 * dim}, {}),
    "a fifth of the rate": ({}, {"lr": recipe.train["lr"] / 5}),
    "four times the rate": ({}, {"lr": 4 * recipe.train["lr"]}),
}


@torch.no_grad()
def terms(method, images: torch.Tensor) -> dict[str, float]:
    """Both terms on pictures that were not trained on, 1,024 directions, batch norm as in training but on a copy."""
    watched = copy.deepcopy(method).train()
    made = plan.views.render(images, torch.Generator().manual_seed(0))
    z = torch.stack([watched.project(view) for view in made])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        directions = random_directions(z.shape[2], 1024)
    return {"prediction, test": prediction_error(z).item(), "SIGReg, test": sigreg(z, directions).item()}


def row_of(name: str, seed: int, train: ImageSet, test: ImageSet) -> dict:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method, cpu = plan.make("LeJEPA", seed, **method_change), time.process_time()
    history = pretrain(method, train, seed=seed, show_progress=False, **SHORT | train_change)
    row = {"LeJEPA": name, "lambda": method.lambd, "CPU-seconds": time.process_time() - cpu}
    row |= {term: history[term][-1] for term in ("loss", "prediction", "SIGReg")}
    row |= terms(method, test.images[:256])
    report = evaluate.report(method.encoder, train, test)
    return row | {question: report[question] for question in ("kNN", "linear", "linear, hue")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES, epochs=SHORT["epochs"])
    again = f"python experiments/lejepa_recipe.py --seed {seed}"
    study = results.Study(f"lejepa-recipe-{seed}", config=config, seed=seed, again=again)
    for name in CHANGES:
        if study.has(LeJEPA=name):
            continue
        study.add(row_of(name, seed, train, test))
        print(study.rows[-1], flush=True)
    for answer in ("kNN", "linear"):
        for term in ("loss", "prediction", "SIGReg"):
            ranks = evaluate.spearman([-row[term] for row in study.rows], [row[answer] for row in study.rows])
            print(f"Spearman of -{term} and {answer}: {ranks:.2f}")


if __name__ == "__main__":
    main()
