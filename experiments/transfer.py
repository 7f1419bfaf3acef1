"""Does what was learnt on one image set help on another? SimCLR's small ConvNet, trained on one, asked on both.

    python experiments/transfer.py

writes results/studies/transfer.json. CIFAR-10 is looked for in $SSLBOOK_DATA, else downloaded.
"""

from typing import Any

from torch import nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain

SEED = 0
PLANS = {"shapes": BUDGETS["cpu"], "CIFAR-10": BUDGETS["cifar10-cpu"]}


def row_of(name: str, encoder: nn.Module, sets: dict[str, tuple[ImageSet, ImageSet]]) -> dict[str, Any]:
    """A linear probe on the frozen encoder, on each of the sets."""
    row = {"trained on": name}
    for asked, (train, test) in sets.items():
        x, y = evaluate.embed(encoder, train), evaluate.embed(encoder, test)
        row[f"asked on {asked}"] = evaluate.linear_evaluation(x, train.labels, y, test.labels)
    return row


def main() -> None:
    sets = {name: plan.load() for name, plan in PLANS.items()}
    study = results.Study("transfer", keep=False, seed=SEED, again="python experiments/transfer.py")
    study.add(row_of("nothing (random)", BUDGETS["cpu"].encoder(seed=SEED), sets))
    for name, plan in PLANS.items():
        method = plan.make("SimCLR", SEED)
        pretrain(method, sets[name][0], seed=SEED, show_progress=False, **plan.recipe("SimCLR").train)
        study.add(row_of(name, method.encoder, sets))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
