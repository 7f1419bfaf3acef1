"""How many negatives does SimCLR want? Each view looks for its partner among a few others, drawn anew in every step.

    python experiments/negatives.py --seed 0           # about 2 CPU-minutes
    python experiments/negatives.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/negatives-<seed>.json: a row for the untrained network and one for each number of negatives, with
two fifths of the epochs of the cpu budget. Batch and steps are the same in all rows. Rows that the log holds are not
made again.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from study_options import study_options
from torch import Tensor

from sslbook import evaluate, results
from sslbook.budget import Budget
from sslbook.images import ImageSet
from sslbook.methods import SimCLR
from sslbook.pretrain import pretrain

UNTRAINED = "untrained"


class FewNegatives(SimCLR):
    """SimCLR with `keep` random negatives for each view instead of all."""

    keep = 2

    def loss(self, views: list[Tensor]) -> Tensor:
        z = F.normalize(self.project(torch.cat(views)), dim=1)
        similarity = z @ z.T / self.temperature
        rows = torch.arange(len(z), device=z.device)
        order = torch.rand(len(z), len(z), device=z.device)  # negatives at random,
        order[rows, rows.roll(len(z) // 2)] = -1  # after the partner,
        order[rows, rows] = 2  # and the view itself last
        candidates = order.argsort(dim=1)[:, : 1 + self.keep]
        return F.cross_entropy(similarity.gather(1, candidates), torch.zeros_like(rows))


def row_of(plan: Budget, negatives: str, seed: int, epochs: int, *, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Train with so many negatives, and ask the encoder."""
    encoder, row = plan.encoder(seed=seed), {"negatives": negatives}
    if negatives != UNTRAINED:
        recipe = plan.recipe("SimCLR")
        torch.manual_seed(seed)
        method = FewNegatives(encoder, **recipe.method)
        method.keep = int(negatives)
        history = pretrain(method, train, seed=seed, show_progress=False, **recipe.train | dict(epochs=epochs))
        row |= {"chance": math.log(1 + method.keep), "last loss": history["loss"][-1]}
    report = evaluate.report(encoder, train, test)
    return row | {question: report[question] for question in ("kNN", "linear")}


def main() -> None:
    seed, small, plan = study_options(__doc__)
    train, test = plan.load()
    recipe = plan.recipe("SimCLR")
    epochs = 1 if small else 2 * recipe.train["epochs"] // 5
    study = results.Study(
        f"negatives-{seed}",
        dry=small,
        seed=seed,
        config=recipe.config | dict(epochs=epochs),
        again=f"python experiments/negatives.py --seed {seed}",
    )
    for negatives in (UNTRAINED, "2", "14", str(2 * recipe.train["batch_size"] - 2)):
        if study.has(negatives=negatives):
            continue
        study.add(row_of(plan, negatives, seed, epochs, train=train, test=test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
