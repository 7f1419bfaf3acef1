"""What does each method keep of a picture, and what does it forget? Every factor of the shapes, before and after.

    python experiments/factors.py --seed 0               # all methods that learn from pictures, about 25 CPU-minutes
    python experiments/factors.py --seed 0 NAME ...      # these
    python experiments/factors.py --seed 0 --small       # does it run at all? Nothing is written

writes results/studies/factors-<seed>.json: a row for each method with its recipe of the cpu budget, so that the encoder
is that of results/cpu, and kNN and linear say so. Of h, untrained and trained: which share of each factor's variance a
linear fit explains. Rows that the log holds are not made again.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from study_options import study_parser

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.methods import METHODS, reading
from sslbook.pretrain import pretrain


def row_of(plan: Budget, name: str, seed: int, epochs: int | None = None) -> dict[str, Any]:
    """Train a method by its recipe; what h knows before and after."""
    train, test = plan.load()
    method, settings = plan.make(name, seed), plan.recipe(name).train
    if epochs is not None:
        settings = settings | dict(epochs=epochs)

    def known() -> tuple[torch.Tensor, torch.Tensor]:
        return evaluate.embed(method.encoder, train), evaluate.embed(method.encoder, test)

    def kept() -> dict[str, float]:
        x, y = known()
        return evaluate.explained_factors(x, train.factors, y, test.factors)

    untrained = kept()
    cpu = time.process_time()
    pretrain(method, train, seed=seed, show_progress=False, **settings)
    cpu = time.process_time() - cpu
    x, y = known()
    return {
        "method": METHODS[name].label,
        "seed": seed,
        "CPU-seconds": cpu,
        "kNN": evaluate.knn(x, train.labels, y, test.labels, k=evaluate.neighbours(train.labels)),
        "linear": evaluate.linear_evaluation(x, train.labels, y, test.labels),
        "untrained": untrained,
        "factors": kept(),
    }


def main() -> None:
    every = list(reading("images"))
    parser = study_parser(__doc__)
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(every)}; all by default")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.methods if name not in every]:
        parser.error(f"there is no {unknown[0]!r} that learns from pictures; there are {', '.join(every)}")
    torch.set_num_threads(1)
    plan, seed = BUDGETS["cpu"], arguments.seed
    if arguments.small:
        plan = replace(plan, train=256, test=128)
    again = f"python experiments/factors.py --seed {seed}"
    study = results.Study(f"factors-{seed}", dry=arguments.small, seed=seed, again=again)
    for name in arguments.methods or every:
        if study.has(method=METHODS[name].label):
            continue
        row = row_of(plan, name, seed, epochs=1 if arguments.small else None)
        shares = ", ".join(f"{factor} {share:.2f}" for factor, share in row["factors"].items())
        print(f"{row['method']}: {row['CPU-seconds']:.0f} CPU-seconds, kNN {row['kNN']:.3f}, {shares}", flush=True)
        study.add(row)


if __name__ == "__main__":
    main()
