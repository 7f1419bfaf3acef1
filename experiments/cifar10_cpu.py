"""What a method learns from real CIFAR-10 in ten CPU-minutes: `python experiments/cifar10_cpu.py SimCLR`.

Writes results/cifar10-cpu-<method>.json. The data are looked for in SSLBOOK_DATA, else downloaded.
"""

import argparse
import time

import torch

from sslbook import data, evaluate, methods, results, views
from sslbook.encoders import ConvNet
from sslbook.pretrain import pretrain

RECIPES = {
    "SimCLR": dict(method=dict(temperature=0.2), train=dict(optimizer="adamw", lr=3e-3, weight_decay=1e-3)),
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("method", choices=RECIPES)
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

train, test = data.load("cifar10")
recipe = RECIPES[options.method]
torch.manual_seed(options.seed)
method = getattr(methods, options.method)(ConvNet(), **recipe["method"])


def measure() -> dict[str, float]:
    sets = [(evaluate.embed(method.encoder, split), split.labels) for split in (train, test)]
    return dict(knn=evaluate.knn(*sets[0], *sets[1]), linear=evaluate.linear_evaluation(*sets[0], *sets[1]))


before = measure()
print("random encoder:", before, flush=True)
wall, cpu = time.perf_counter(), time.process_time()
history = pretrain(
    method, train, epochs=options.epochs, batch_size=256, views=views.cifar(), seed=options.seed, **recipe["train"]
)
minutes, cpu_minutes = (time.perf_counter() - wall) / 60, (time.process_time() - cpu) / 60
after = measure()
print(f"after {minutes:.1f} minutes ({cpu_minutes:.1f} CPU-minutes):", after)
path = results.write(
    f"results/cifar10-cpu-{options.method.lower()}.json",
    config=history.config | recipe | dict(encoder="ConvNet(16)"), seed=options.seed, minutes=minutes,
    cpu_minutes=cpu_minutes, protocol="kNN k=200, t=0.1; linear: L-BFGS on frozen features", random_encoder=before,
    trained=after, losses=[row["loss"] for row in history.epochs],
)  # fmt: skip
print("written:", path)
