"""What BYOL needs in order to learn on the shapes: its recipe, and the same with one thing changed.

    python experiments/byol_recipe.py

writes results/studies/byol-recipe.json.
"""

import time

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
from sslbook.methods.registry import adamw
from sslbook.pretrain import pretrain

SEED = 0
plan = BUDGETS["cpu"]
recipe = plan.recipe("BYOL")
CHANGES = {  # what is changed: arguments of BYOL, of pretrain
    "the recipe": ({}, {}),
    "the predictor no faster than the rest": ({"predictor_lr": 1.0}, {}),
    "a slow target, tau from 0.99": ({"tau": 0.99}, {}),
    "AdamW, as SimCLR": ({}, adamw(2e-3)),
    "AdamW, and the predictor no faster": ({"predictor_lr": 1.0}, adamw(2e-3)),
}

train, test = plan.load()
start, rows = time.perf_counter(), []
for name, (method_change, train_change) in CHANGES.items():
    method = plan.make("BYOL", SEED, **method_change)
    history = pretrain(method, train, seed=SEED, **recipe.train | train_change)
    report = evaluate.report(method.encoder, train, test)
    row = {"BYOL": name, "last loss": history["loss"][-1], "kNN": report["kNN"], "linear": report["linear"]}
    print(row, flush=True)
    rows.append(row)
config = dict(method=recipe.method, train={k: v for k, v in recipe.train.items() if k != "views"})
minutes, again = (time.perf_counter() - start) / 60, "python experiments/byol_recipe.py"
print(
    results.write("results/studies/byol-recipe.json", rows=rows, config=config, seed=SEED, minutes=minutes, again=again)
)
