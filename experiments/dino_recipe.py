"""What DINO needs in order to learn on the shapes: its recipe, and the same with one thing changed, in short trainings.

    python experiments/dino_recipe.py

writes results/studies/dino-recipe.json. The images are not those that the book reports on. Rows that the log holds are
not made again. `FIRST` is what the search began with.
"""

import time

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.methods.registry import sgd
from sslbook.pretrain import pretrain
from sslbook.views import multi_crop

SEED, IMAGES, EPOCHS, WATCHED = 0, 100, 10, 512
plan = BUDGETS["cpu"]
recipe = plan.recipe("DINO")
UNTRAINED = "untrained"
CROPS = multi_crop(plan.views, small=12, number=4, scale=(0.1, 0.25))
FIRST = dict(tau=0.99, T_t=0.03, norm=False, frozen=1), dict(batch_size=128, lr=2e-3)
CHANGES = {  # what is changed: arguments of DINO, of pretrain
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "the first try: tau .99, T_t .03, no batch norm in the head, batches of 128, a slower rate": FIRST,
    "the paper's centre, T_t .04": (dict(centring="mean", T_t=0.04), {}),
    "the paper's centre, T_t .02": (dict(centring="mean"), {}),
    "a softer teacher, T_t .04": (dict(T_t=0.04), {}),
    "a slower teacher, tau .99": (dict(tau=0.99), {}),
    "no batch norm in the head": (dict(norm=False), {}),
    "the last layer waits for an epoch": (dict(frozen=1), {}),
    "64 prototypes": (dict(K=64), {}),
    "512 prototypes": (dict(K=512), {}),
    "a slower rate, .002": ({}, dict(lr=0.002)),
    "SGD at .2": ({}, sgd(0.2)),
    "batches of 128": ({}, dict(batch_size=128)),
    "four small crops beside the large ones": ({}, dict(views=CROPS)),
}


def row_of(name: str, train: ImageSet, test: ImageSet) -> dict:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method = plan.make("DINO", SEED, **method_change)
    cpu = time.process_time()
    settings = recipe.train | dict(epochs=EPOCHS) | train_change
    if name != UNTRAINED:
        pretrain(method, train, seed=SEED, show_progress=False, **settings)
    row = {"DINO": name, "CPU-seconds": time.process_time() - cpu}
    report = evaluate.report(method.encoder, train, test)
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    P_t = method.targets(evaluate.embed_batch(method.teacher, train[:WATCHED]))
    return row | {"used": evaluate.prototypes_used(P_t), "shared": evaluate.assignment_sharpness(P_t)}


def main() -> None:
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES)
    again = "python experiments/dino_recipe.py"
    study = results.Study("dino-recipe", config=config, seed=SEED, epochs=EPOCHS, again=again)
    for name in CHANGES:
        if not study.has(DINO=name):
            row = row_of(name, train, test)
            print(row, flush=True)
            study.add(row)


if __name__ == "__main__":
    main()
