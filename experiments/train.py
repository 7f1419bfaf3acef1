"""Train one encoder in a budget, ask it the book's questions, and log the run.

    python experiments/train.py SimCLR --budget cpu --seed 0

writes results/cpu/simclr-0.json. Besides the methods there are the yardsticks: pixels, "random encoder", supervised;
for methods that learn from text "word counts" and "random Transformer".
Training with labels is shown the views that most methods take.
CIFAR-10 is looked for in $SSLBOOK_DATA, else downloaded.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.callbacks import Probe
from sslbook.finetune import fine_tune, supervised
from sslbook.images import ImageSet
from sslbook.methods import METHODS, reading
from sslbook.pretrain import pretrain
from sslbook.views import Augmentation
from sslbook.vit import ViT
from sslbook.words import word_counts

YARDSTICKS = ("pixels", "random encoder", "random ViT", "supervised", "supervised ViT")
WITHOUT_ENCODER = {"pixels": lambda images: images.images.flatten(1) / 255, "word counts": word_counts}
ON_TEXT = ("word counts", "random Transformer", *reading("text"))


def run(name: str, budget: str, seed: int, probes: int = 8) -> dict[str, Any]:
    """The entries of the log; `probes` is how many points its curve has."""
    plan = BUDGETS[budget]
    train, test = plan.load("text" if name in ON_TEXT else "images")
    encoder = encoder_of(name, plan, seed)
    log = dict(method=name, budget=budget, seed=seed, encoder=type(encoder).__name__, curve=[], config={})
    wall, cpu = time.perf_counter(), time.process_time()
    log |= train_it(name, encoder, plan, seed, train=train, test=test, probes=probes)
    log["minutes"], log["cpu_minutes"] = (time.perf_counter() - wall) / 60, (time.process_time() - cpu) / 60
    log["training_memory_mib"] = results.peak_memory()
    log["report"] = evaluate.report(WITHOUT_ENCODER.get(name, encoder), train, test)
    if name in WITHOUT_ENCODER or name in ON_TEXT:
        return log
    if plan.image_set == "shapes":  # on photos this takes longer than the training
        options = dict(epochs=plan.supervised_epochs, view=view_for(encoder, plan), share=0.1, show_progress=False)
        log["report"]["fine-tuned, 10 % of labels"] = fine_tune(encoder, train, test, seed=seed, **options)
    return log


def encoder_of(name: str, plan: Budget, seed: int) -> nn.Module:
    if name in METHODS:
        return plan.encoder_for(name, seed)
    if name in ON_TEXT:
        return plan.encoder("text", seed)
    if name.endswith("ViT"):
        return plan.encoder("vit", seed)
    return plan.encoder(seed=seed)


def view_for(encoder: nn.Module, plan: Budget) -> Augmentation:
    """What training with labels shows: the views of most methods, in the size that a ViT's positions belong to."""
    return replace(plan.views[0], size=encoder.size) if isinstance(encoder, ViT) else plan.views[0]


def train_it(
    name: str, encoder: nn.Module, plan: Budget, seed: int, *, train: ImageSet, test: ImageSet, probes: int
) -> dict[str, Any]:
    """Train the encoder in place, if it is to be trained, and say how."""
    if name.startswith("supervised"):
        config = dict(epochs=plan.supervised_epochs)
        if name.endswith("ViT"):
            # from scratch it wants many small steps: as many as any method with this encoder takes
            likewise = [plan.recipe(method).train for method, entry in METHODS.items() if entry.encoder == "vit"]
            longest = max(likewise, key=lambda train: train["epochs"] / train["batch_size"])
            config = {key: longest[key] for key in ("epochs", "batch_size")} | dict(lr=1e-3)
        supervised(encoder, train, view=view_for(encoder, plan), seed=seed, **config)
        return dict(config=config)
    if name not in METHODS:
        return {}
    recipe = plan.recipe(name)
    torch.manual_seed(seed)
    method = METHODS[name].method(encoder, **recipe.method).to(plan.device)
    probe = Probe(train, test, every=max(1, recipe.train["epochs"] // probes))
    history = pretrain(method, train, seed=seed, callbacks=[probe], **recipe.train)
    config = history.config | {"arguments": recipe.method}
    return dict(config=config, curve=history.epochs, training_seconds=history.seconds)


def main() -> None:
    known = (*YARDSTICKS, *ON_TEXT, *reading("images"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "method", help="a method of sslbook.methods, or one of " + ", ".join((*YARDSTICKS, *ON_TEXT[:2]))
    )
    parser.add_argument("--budget", choices=BUDGETS, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.method not in known:
        parser.error(f"there is no {options.method!r}; there are {', '.join(known)}")
    log = run(options.method, options.budget, options.seed)
    path = f"results/{options.budget}/{options.method.lower().replace(' ', '-')}-{options.seed}.json"
    answers = ", ".join(f"{question} {answer:.3f}" for question, answer in log["report"].items())
    print(f"{answers}; {log['minutes']:.1f} minutes; {results.write(path, **log)}")


if __name__ == "__main__":
    main()
