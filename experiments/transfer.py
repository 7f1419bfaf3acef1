"""Does what was learnt on one image set help on another? SimCLR's small ConvNet, trained on one, asked on both.

    python experiments/transfer.py

writes results/studies/transfer.json. CIFAR-10 is looked for in $SSLBOOK_DATA, else downloaded.
"""

import time

from sslbook import evaluate, results
from sslbook.budget import BUDGETS
from sslbook.pretrain import pretrain

SEED = 0
PLANS = {"shapes": BUDGETS["cpu"], "CIFAR-10": BUDGETS["cifar10-cpu"]}
SETS = {name: plan.load() for name, plan in PLANS.items()}


def ask(name, encoder):
    row = {"trained on": name}
    for asked, (train, test) in SETS.items():
        x, y = evaluate.embed(encoder, train), evaluate.embed(encoder, test)
        row[f"asked on {asked}"] = evaluate.linear_evaluation(x, train.labels, y, test.labels)
    print(row, flush=True)
    return row


start = time.perf_counter()
rows = [ask("nothing (random)", BUDGETS["cpu"].encoder(seed=SEED))]
for name, plan in PLANS.items():
    recipe = plan.recipe("SimCLR")
    method = plan.make("SimCLR", SEED)
    pretrain(method, SETS[name][0], seed=SEED, **recipe.train)
    rows.append(ask(name, method.encoder))
minutes, again = (time.perf_counter() - start) / 60, "python experiments/transfer.py"
print(results.write("results/studies/transfer.json", rows=rows, seed=SEED, minutes=minutes, again=again))
