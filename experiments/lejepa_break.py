"""LeJEPA with nearly all weight on one of its two terms: how wide, how Gaussian is the cloud, what is learnt?

    python experiments/lejepa_break.py --seed 0           # about 3 CPU-minutes
    python experiments/lejepa_break.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/lejepa-break-<seed>.json: a row for the untrained method, for the recipe of the cpu budget and
for two values of lambda, each with three eighths of the epochs. Of z, for two views of 256 test pictures in train
mode: its standard deviation, both terms, and the rank. Rows that the log holds are not made again.
"""

import copy
import math
from typing import Any

import torch
from study_options import study_options

from sslbook import evaluate, results
from sslbook.budget import Budget
from sslbook.images import ImageSet
from sslbook.methods import LeJEPA
from sslbook.methods.lejepa import prediction_error, random_directions, sigreg
from sslbook.pretrain import pretrain

UNTRAINED = "untrained"
CHANGES = {UNTRAINED: {}, "complete": {}, "lambda = 0": {"lambd": 0.0}, "lambda = 0.9": {"lambd": 0.9}}


@torch.no_grad()
def cloud(method: LeJEPA, test: ImageSet, plan: Budget) -> dict[str, float]:
    """What the chapter measures: how wide z is, how far its views are apart for that, how Gaussian."""
    watched = copy.deepcopy(method).train()
    views = plan.views.render(test.images[:256], torch.Generator().manual_seed(9))
    z = torch.stack([watched.project(view) for view in views])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        directions = random_directions(z.shape[2], 256)
    variance, prediction = z.var(dim=1).mean().item(), prediction_error(z).item()
    return {
        "deviation of z": math.sqrt(variance),
        "prediction": prediction,
        "prediction / variance": prediction / variance,
        "SIGReg": sigreg(z, directions).item(),
        "RankMe": evaluate.rankme(z[0] - z[0].mean(dim=0)),
    }


def row_of(plan: Budget, name: str, seed: int, epochs: int, *, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Train with one change, and look at z and at h."""
    method, row = plan.make("LeJEPA", seed, **CHANGES[name]), {"LeJEPA": name}
    if name != UNTRAINED:
        settings = plan.recipe("LeJEPA").train | dict(epochs=epochs)
        history = pretrain(method, train, seed=seed, show_progress=False, **settings)
        row |= {"last loss": history["loss"][-1]}
    row |= cloud(method, test, plan)
    report = evaluate.report(method.encoder, train, test)
    return row | {question: report[question] for question in ("kNN", "linear")}


def main() -> None:
    seed, small, plan = study_options(__doc__)
    train, test = plan.load()
    recipe = plan.recipe("LeJEPA")
    epochs = 1 if small else 3 * recipe.train["epochs"] // 8
    study = results.Study(
        f"lejepa-break-{seed}",
        dry=small,
        seed=seed,
        config=recipe.config | dict(epochs=epochs),
        again=f"python experiments/lejepa_break.py --seed {seed}",
    )
    for name in CHANGES:
        if study.has(LeJEPA=name):
            continue
        study.add(row_of(plan, name, seed, epochs, train=train, test=test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
