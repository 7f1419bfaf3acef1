"""Train the small MAE that comes with the book, and log the run: some minutes on two cores.

    python experiments/ship.py

writes sslbook/weights/mae-shapes.safetensors and results/pretrained/mae-shapes-0.json.
"""

import time
from dataclasses import replace

import torch

from sslbook import evaluate, pretrained, results, sets
from sslbook.budget import BUDGETS
from sslbook.methods import MAE
from sslbook.pretrain import pretrain
from sslbook.vit import vit_micro

NAME = "mae-shapes"
IMAGES, EPOCHS = 16_384, 25  # four times the pictures of the chapter's run, none of them twice


def main() -> None:
    plan = BUDGETS["cpu"]
    recipe = replace(plan.recipe("MAE"), method=plan.recipe("MAE").method | dict(decoder_dim=64))
    pictures, _ = sets.load("shapes", train=IMAGES, test=1, seed=1)
    train, test = plan.load()
    torch.manual_seed(0)
    method = MAE(vit_micro(), **recipe.method)
    start = time.perf_counter()
    history = pretrain(method, pictures, seed=0, **recipe.train | dict(epochs=EPOCHS))
    minutes = (time.perf_counter() - start) / 60
    path = pretrained.FOLDER / f"{NAME}.safetensors"
    pretrained.save(path, method, "vit_micro", recipe.method)
    shipped = pretrained.load(NAME)  # what the reader gets, rounded to float16
    error, mean_colour = shipped.errors(test.images / 255)
    report = evaluate.report(shipped.encoder, train, test)
    report |= {"error of hidden patches": error, "error of the mean colour": mean_colour}
    config = history.config | dict(arguments=recipe.method)
    entries = dict(method=NAME, budget="pretrained", seed=0, config=config, curve=history.epochs)
    log = results.write(f"results/pretrained/{NAME}-0.json", **entries, minutes=minutes, report=report)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB), {log}; {minutes:.1f} minutes")
    print(", ".join(f"{question} {answer:.4f}" for question, answer in report.items()))


if __name__ == "__main__":
    main()
