"""A GAN, and what becomes of it without one of its parts: its pictures, and what its discriminator knows.

    python experiments/gan_study.py --seed 0           # some 7 CPU-minutes
    python experiments/gan_study.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/gan-<seed>.json. All rows are trained for EPOCHS, fewer than the recipe's. For each: Fréchet
distance of 1,024 painted pictures from the test pictures and how many of the eight shapes they show in effect, in the
eyes of a judge trained with labels; kNN and linear probes of the discriminator's features; both losses of the last
epoch, and how often the discriminator was right. Rows that the log holds are not made again.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from study_options import study_parser

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.samples import Judge, classes_drawn

EPOCHS, PAINTED = 4, 1024
UNTRAINED = "untrained"
# arguments of GAN, of pretrain
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "with spectral norm": ({"spectral": True}, {}),
    "no R1": ({"penalty": 0.0}, {}),
    "spectral norm, no R1": ({"spectral": True, "penalty": 0.0}, {}),
    "hinge": ({"loss": "hinge"}, {}),
    "discriminator too strong": ({"penalty": 0.0, "rate_g": 0.05}, {}),
    "generator ten times as fast": ({"penalty": 0.0, "rate_g": 10.0}, {}),
    "one latent": ({"latents": 1}, {}),
}


def row_of(name: str, seed: int, plan: Budget, judge: Judge, *, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """One run: its losses, its pictures, its features."""
    method_change, train_change = RUNS[name]
    method, row = plan.make("GAN", seed, **method_change), {"GAN": name}
    settings = plan.recipe("GAN").train | {"epochs": plan.epochs} | train_change
    row |= {"discriminator loss": None, "generator loss": None, "right": None, "curves": None}
    cpu = time.process_time()
    if name != UNTRAINED:
        history = pretrain(method, train, seed=seed, show_progress=False, **settings)
        curves = {turn: history[f"{turn} loss"] for turn in method.turns}
        row |= {f"{turn} loss": curve[-1] for turn, curve in curves.items()}
        row |= {"right": history["discriminator right"][-1], "curves": curves}
    row["CPU-seconds"] = time.process_time() - cpu
    painted = method.sample(PAINTED, seed)
    shares = judge.classes(painted)
    report = evaluate.report(method.encoder, train, test)
    return row | {
        "Fréchet": judge.frechet(test, painted),
        "shapes drawn": classes_drawn(shares),
        "shares": dict(zip(judge.names, shares.tolist())),
        "kNN": report["kNN"],
        "linear": report["linear"],
    }


def main() -> None:
    parser = study_parser(__doc__)
    arguments = parser.parse_args()
    plan = replace(BUDGETS["cpu"], epochs=EPOCHS)
    if arguments.small:
        plan = replace(plan, train=256, test=256, epochs=1)
    train, test = plan.load()
    judge = Judge(train, test, epochs=1 if arguments.small else 12)
    about = {
        "epochs": plan.epochs,
        "painted": PAINTED,
        "judge's accuracy": judge.accuracy,
        "Fréchet of real pictures": judge.frechet(test, train[torch.arange(len(test))]),
        "shapes in real pictures": classes_drawn(judge.classes(test)),
    }
    again = f"python experiments/gan_study.py --seed {arguments.seed}"
    study = results.Study(f"gan-{arguments.seed}", dry=arguments.small, config=about, seed=arguments.seed, again=again)
    for name in RUNS:
        if not study.has(GAN=name):
            study.add(row_of(name, arguments.seed, plan, judge, train=train, test=test))
            print({key: value for key, value in study.rows[-1].items() if key != "curves"}, flush=True)


if __name__ == "__main__":
    main()
