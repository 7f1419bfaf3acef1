"""What a VAE needs in order to learn on the shapes: its recipe, and the same with one thing changed.

    python experiments/vae_recipe.py   # about 5 CPU-minutes

writes results/studies/vae-recipe.json. The images are not those that the book reports on. Rows that the log holds are
not made again.
"""

from torch import nn

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain

SEED, IMAGES = 0, 100
plan = BUDGETS["cpu"]
recipe = plan.recipe("VAE")
UNTRAINED = "untrained"
HALF = recipe.train["epochs"] // 2
CHANGES = {  # what is changed: arguments of VAE, of pretrain
    UNTRAINED: ({}, {}),
    "the recipe": ({}, {}),
    "half the epochs": ({}, {"epochs": HALF}),
    "half, sigma 0.05": ({"sigma": 0.05}, {"epochs": HALF}),
    "half, 32 latents": ({"latents": 32}, {"epochs": HALF}),
}


def row_of(name: str, train: ImageSet, test: ImageSet) -> dict:
    """What came of the recipe with one change."""
    method_change, train_change = CHANGES[name]
    method, row = plan.make("VAE", SEED, **method_change), {"VAE": name}
    if name != UNTRAINED:
        settings = recipe.train | train_change
        history = pretrain(method, train, seed=SEED, show_progress=False, **settings)
        row |= {term: history[term][-1] for term in ("reconstruction", "KL")} | {"seconds": history.seconds}
    report = evaluate.report(method.encoder, train, test)
    row |= {question: report[question] for question in ("kNN", "linear", "linear, hue")}
    both = nn.Sequential(method.encoder, method.head)
    of_mu = evaluate.report(lambda images: evaluate.embed(both, images).chunk(2, dim=1)[0], train, test)
    return row | {f"{question} of mu": of_mu[question] for question in ("kNN", "linear")}


def main() -> None:
    train, test = sets.load("shapes", train=plan.train, test=plan.test, seed=IMAGES)
    config = recipe.config | dict(images=IMAGES)
    study = results.Study("vae-recipe", config=config, seed=SEED, again="python experiments/vae_recipe.py")
    for name in CHANGES:
        if study.has(VAE=name):
            continue
        study.add(row_of(name, train, test))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
