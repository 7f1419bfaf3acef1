"""What is hidden may be asked for as pixels, codes, latents or words: what does each make an encoder keep? 3 seeds.

    python experiments/targets.py           # about 35 CPU-minutes
    python experiments/targets.py --small   # does it run at all? Nothing is written

writes results/studies/targets.json. The methods for images have the same encoder, views, batches and number of steps,
and otherwise their own recipe. Of every factor of a picture a row says which share of its variance a linear map finds
in the features; of every factor of a sentence the accuracy of a linear classifier, 0 for chance and 1 for all right.
Rows that the log holds are not made again.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from study_options import study_parser
from torch import Tensor, nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.pretrain import pretrain
from sslbook.words import word_counts

SEEDS = (0, 1, 2)
UNTRAINED, COUNTS = "untrained", "word counts"
# the method of each row, and the arguments that differ from its recipe; None for a network as it was drawn
IMAGES: dict[str, tuple[str, dict[str, Any]] | None] = {
    UNTRAINED: None,
    "pixels (MAE)": ("MAE", {}),
    "codes (BEiT)": ("BEiT", {}),
    "latents (I-JEPA)": ("IJEPA", dict(pixels=0.0)),
    "latents and pixels": ("IJEPA", dict(pixels=1.0)),
}
TEXT: dict[str, tuple[str, dict[str, Any]] | None] = {COUNTS: None, UNTRAINED: None, "words (BERT)": ("BERT", {})}
ROWS = {"text": TEXT, "images": IMAGES}


def alike(plan: Budget) -> dict[str, Any]:
    """What all methods for images are trained with: MAE's."""
    return {key: plan.recipe("MAE").train[key] for key in ("epochs", "batch_size", "views")}


def trained(plan: Budget, what: str, row: tuple[str, dict[str, Any]] | None, seed: int, data: Any) -> nn.Module:
    """The encoder of a row."""
    if row is None:
        return plan.encoder("vit" if what == "images" else "text", seed)
    name, changes = row
    method, settings = plan.make(name, seed, **changes), plan.recipe(name).train
    if what == "images":
        settings = settings | alike(plan)
    pretrain(method, data, seed=seed, show_progress=False, **settings)
    return method.encoder


def of_images(features: Callable[[Any], Tensor], train: Any, test: Any) -> dict[str, float]:
    """The share of each factor's variance, the class first: of that the accuracy above chance."""
    x, y = features(train), features(test)
    found = evaluate.linear_evaluation(x, train.labels, y, test.labels)
    shape = above_chance(found, test.labels)
    return {"class": shape} | evaluate.explained_factors(x, train.factors, y, test.factors)


def of_text(features: Callable[[Any], Tensor], train: Any, test: Any) -> dict[str, float]:
    """The accuracy above chance of each factor, the label first."""
    x, y = features(train), features(test)
    asked = {"label": (train.labels, test.labels)}
    asked |= {name: (values, test.factors[name]) for name, values in train.factors.items()}
    return {
        name: above_chance(evaluate.linear_evaluation(x, known, y, new), new) for name, (known, new) in asked.items()
    }


def above_chance(accuracy: float, labels: Tensor) -> float:
    """0 for as good as a guess among as many equally likely answers, 1 for all right."""
    chance = 1 / (int(labels.max()) + 1)
    return (accuracy - chance) / (1 - chance)


def row_of(plan: Budget, what: str, name: str, seed: int) -> dict[str, Any]:
    """One encoder and what it keeps."""
    train, test = plan.load(what)
    cpu = time.process_time()
    features = word_counts
    if name != COUNTS:
        features = partial(evaluate.embed, trained(plan, what, ROWS[what][name], seed, train))
    row = {"hidden": what, "target": name, "seed": seed, "CPU-seconds": time.process_time() - cpu}
    ask = of_images if what == "images" else of_text
    return row | {"factors": ask(features, train, test)}


def main() -> None:
    parser = study_parser(__doc__, seed=False)
    small = parser.parse_args().small
    torch.set_num_threads(1)
    plan = BUDGETS["cpu"]
    if small:
        plan = replace(plan, train=256, test=128, epochs=4, sentences=(256, 128))
    steps = {key: alike(plan)[key] for key in ("epochs", "batch_size")}
    again = "python experiments/targets.py"
    study = results.Study("targets", dry=small, seed=SEEDS, images=steps, again=again)
    for seed in SEEDS[:1] if small else SEEDS:
        for what, rows in ROWS.items():
            for name in rows:
                if not study.has(hidden=what, target=name, seed=seed):
                    study.add(row_of(plan, what, name, seed))
                    print(
                        {k: round(v, 2) if isinstance(v, float) else v for k, v in study.rows[-1].items()}, flush=True
                    )


if __name__ == "__main__":
    main()
