"""How much to hide, and what to ask for: MAE's recipe on the shapes, and the same with one thing changed.

    python experiments/mae_recipe.py

writes results/studies/mae-recipe.json.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.losses import masked_error
from sslbook.methods import MAE
from sslbook.pretrain import pretrain

SEED = 0
plan = BUDGETS["cpu"]
recipe = plan.recipe("MAE")


class AllPatches(MAE):
    """The loss counts the visible patches too."""

    def loss(self, views):
        _, pred, mask = self(views[0])
        return masked_error(pred, self.target(views[0])[0], torch.ones_like(mask))


jitter = {name: getattr(plan.views[0], name) for name in ("jitter", "brightness", "contrast", "saturation", "hue")}
coloured = [replace(view, **jitter) for view in recipe.train["views"]]
# what is run: the class, and what changes in the method and in the training
RUNS: dict[str, tuple[type[MAE], dict[str, Any], dict[str, Any]]] = {
    f"{100 * ratio:.0f} % hidden": (MAE, dict(mask_ratio=ratio), {}) for ratio in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)
}
RUNS |= {
    "60 % hidden, loss on all patches": (AllPatches, {}, {}),
    "60 % hidden, patches standardised": (MAE, dict(norm_pix_loss=True), {}),
    "60 % hidden, with colour jitter": (MAE, {}, dict(views=coloured)),
    "60 % hidden, three times the epochs": (MAE, {}, dict(epochs=3 * recipe.train["epochs"])),
}


def row_of(name: str, train: ImageSet, test: ImageSet, hidden: Tensor) -> dict[str, Any]:
    """What came of the recipe with one change."""
    make, method_change, train_change = RUNS[name]
    torch.manual_seed(SEED)
    method = make(plan.encoder("vit", SEED), **recipe.method | method_change)
    history = pretrain(method, train, seed=SEED, show_progress=False, **recipe.train | train_change)
    error, mean_colour = method.errors(test.images / 255, hidden)
    report = evaluate.report(method.encoder, train, test)
    row = {"MAE": name, "times better than the mean colour": f"{mean_colour / error:.1f} x"}
    return row | {"kNN": report["kNN"], "linear": report["linear"], "seconds": history.seconds}


def main() -> None:
    train, test = plan.load()
    noise = torch.rand(len(test), 64, generator=torch.Generator().manual_seed(SEED))
    hidden = noise.argsort(dim=1).argsort(dim=1) >= 26  # the same six tenths of every picture for all runs
    config = recipe.config
    study = results.Study("mae-recipe", keep=False, config=config, seed=SEED, again="python experiments/mae_recipe.py")
    for name in RUNS:
        study.add(row_of(name, train, test, hidden))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
