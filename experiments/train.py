"""Train one encoder in a budget, ask it the book's questions, and log the run.

    python experiments/train.py SimCLR --budget cpu --seed 0

writes results/cpu/simclr-0.json. Besides the methods there are the yardsticks: pixels, "random encoder", supervised.
CIFAR-10 is looked for in $SSLBOOK_DATA, else downloaded.
"""

import argparse
import time

import torch

from sslbook import evaluate, methods, results, views
from sslbook.budget import BUDGETS
from sslbook.pretrain import pretrain

YARDSTICKS = ("pixels", "random encoder", "random ViT", "supervised", "supervised ViT")
TUNING = dict(share=0.1, progress=False)


def run(name: str, budget: str, seed: int) -> dict:
    """The entries of the log."""
    plan = BUDGETS[budget]
    train, test = plan.load()
    if name in plan.recipes:
        encoder = plan.encoder_for(name, seed)
    else:
        encoder = plan.vit(seed) if name.endswith("ViT") else plan.encoder(seed)
    crop_and_flip = views.Augmentation(train.images.shape[-1], scale=plan.views[0].scale, flip=0.5)
    log = dict(encoder=name, budget=budget, seed=seed, network=type(encoder).__name__, curve=[], config={})
    wall, cpu = time.perf_counter(), time.process_time()
    if name == "pixels":
        log["report"] = evaluate.report(lambda images: images.images.flatten(1) / 255, train, test)
    elif name.startswith("supervised"):
        evaluate.supervised(encoder, train, epochs=plan.supervised_epochs, view=crop_and_flip, seed=seed)
        log["config"] = dict(epochs=plan.supervised_epochs)
    elif name in plan.recipes:
        recipe = plan.recipe(name)
        torch.manual_seed(seed)
        method = getattr(methods, name)(encoder, **recipe.method).to(plan.device)
        probe = (train, test)
        every = max(1, recipe.train["epochs"] // 8)
        history = pretrain(method, train, seed=seed, probe=probe, probe_every=every, **recipe.train)
        log |= dict(config=history.config | {"arguments": recipe.method}, curve=history.epochs)
        log["training_seconds"] = history.seconds
    log["minutes"], log["cpu_minutes"] = (time.perf_counter() - wall) / 60, (time.process_time() - cpu) / 60
    log["training_memory_mib"] = results.peak_memory()
    if name == "pixels":
        return log
    log["report"] = evaluate.report(encoder, train, test)
    if plan.image_set == "shapes":  # on photos this takes longer than the training
        tuned = evaluate.fine_tune(encoder, train, test, epochs=plan.supervised_epochs, view=crop_and_flip, **TUNING)
        log["report"]["fine-tuned, 10 % of labels"] = tuned
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", help="a method of sslbook.methods, or one of " + ", ".join(YARDSTICKS))
    parser.add_argument("--budget", choices=BUDGETS, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.encoder not in (*YARDSTICKS, *methods.__all__):
        parser.error(f"there is no {options.encoder!r}; there are {', '.join((*YARDSTICKS, *methods.__all__))}")
    log = run(options.encoder, options.budget, options.seed)
    path = f"results/{options.budget}/{options.encoder.lower().replace(' ', '-')}-{options.seed}.json"
    answers = ", ".join(f"{question} {answer:.3f}" for question, answer in log["report"].items())
    print(f"{answers}; {log['minutes']:.1f} minutes; {results.write(path, **log)}")


if __name__ == "__main__":
    main()
