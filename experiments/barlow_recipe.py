"""What Barlow Twins needs in order to learn on the shapes: its recipe, and the same with one thing changed.

    python experiments/barlow_recipe.py

writes results/studies/barlow-recipe.json. The images are not those that the book reports on.
"""

import copy
import time

import torch
import torch.nn.functional as F

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.methods import BarlowTwins
from sslbook.methods.barlow_twins import cross_correlation
from sslbook.pretrain import pretrain

SEED, IMAGES = 0, 100
plan = BUDGETS["cpu"]
recipe = plan.recipe("BarlowTwins")
UNTRAINED = "untrained"
CHANGES = {  # what is changed: arguments of BarlowTwins, of pretrain
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "no redundancy term, lambda 0": ({"lambd": 0.0}, {}),
    "a tenth of lambda, .002": ({"lambd": 0.002}, {}),
    "five times lambda, .1": ({"lambd": 0.1}, {}),
    "four times the features, 512": ({"dim": 512}, {}),
    "batches of 64": ({}, {"batch_size": 64}),
    "batches of 256": ({}, {"batch_size": 256}),
    "a slower rate, .002": ({}, {"lr": 0.002}),
}


@torch.no_grad()
def redundancy(method: BarlowTwins, images: torch.Tensor) -> dict[str, float]:
    """C between two views of the images, and the rank of z, with batch norm as in training but on a copy."""
    made = plan.views.render(images, torch.Generator().manual_seed(SEED))
    watched = copy.deepcopy(method).train()
    z1, z2 = (F.batch_norm(watched.project(view), None, None, training=True) for view in made)
    C = cross_correlation(z1, z2)
    beside = C[~torch.eye(len(C), dtype=torch.bool)]
    return {
        "diagonal of C": C.diagonal().mean().item(),
        "beside it, RMS": beside.square().mean().sqrt().item(),
        "beside it, mean size": beside.abs().mean().item(),
        "RankMe of z": evaluate.rankme(z1),
    }


def row_of(name: str, train: ImageSet, test: ImageSet) -> dict:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method = plan.make("BarlowTwins", SEED, **method_change)
    cpu = time.process_time()
    if name != UNTRAINED:
        pretrain(method, train, seed=SEED, show_progress=False, **recipe.train | train_change)
    row = {"Barlow Twins": name, "CPU-seconds": time.process_time() - cpu}
    report = evaluate.report(method.encoder, train, test)
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    for n in (256, len(train)):
        row |= {f"{what}, {n} images": value for what, value in redundancy(method, train.images[:n]).items()}
    return row


def main() -> None:
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES)
    study = results.Study(
        "barlow-recipe", keep=False, config=config, seed=SEED, again="python experiments/barlow_recipe.py"
    )
    for name in CHANGES:
        study.add(row_of(name, train, test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
