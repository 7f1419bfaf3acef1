"""How much to hide, and what to ask for: MAE's recipe on the shapes, and the same with one thing changed.

    python experiments/mae_recipe.py

writes results/studies/mae-recipe.json.
"""

import time

import torch

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
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


RUNS = {f"{100 * ratio:.0f} % hidden": (MAE, dict(mask_ratio=ratio)) for ratio in (0.1, 0.25, 0.4, 0.6, 0.75, 0.9)}
RUNS |= {
    "60 % hidden, loss on all patches": (AllPatches, {}),
    "60 % hidden, patches standardised": (MAE, dict(norm_pix_loss=True)),
}

train, test = plan.load()
noise = torch.rand(len(test), 64, generator=torch.Generator().manual_seed(SEED))
hidden = noise.argsort(dim=1).argsort(dim=1) >= 26  # the same six tenths of every picture for all runs
start, rows = time.perf_counter(), []
for name, (make, change) in RUNS.items():
    torch.manual_seed(SEED)
    method = make(plan.encoder("vit", SEED), **recipe.method | change)
    history = pretrain(method, train, seed=SEED, **recipe.train)
    error, mean_colour = method.errors(test.images / 255, hidden)
    report = evaluate.report(method.encoder, train, test)
    row = {"MAE": name, "times better than the mean colour": f"{mean_colour / error:.1f} x", "linear": report["linear"]}
    row |= {"seconds": history.seconds}
    print(row, flush=True)
    rows.append(row)
config = dict(method=recipe.method, train={k: v for k, v in recipe.train.items() if k != "views"})
minutes, again = (time.perf_counter() - start) / 60, "python experiments/mae_recipe.py"
print(
    results.write("results/studies/mae-recipe.json", rows=rows, config=config, seed=SEED, minutes=minutes, again=again)
)
