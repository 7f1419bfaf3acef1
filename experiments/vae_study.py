"""What becomes of a VAE without its parts? Its recipe, and the same with one thing changed, a quarter as long.

    python experiments/vae_study.py --seed 0   # (1, 2) about 6 CPU-minutes each
    python experiments/vae_study.py --small    # does it run at all? Nothing is written

writes results/studies/vae-<seed>.json. For each run: both terms of the bound in nats a test picture; how many of the
latents are active; the mutual information gap of codes that are drawn; kNN and linear probes of h and of mu, and the
linear probe of a drawn code; and two Frechet distances to test pictures, of pictures painted from their codes and of
pictures painted from codes drawn from a normal distribution. Rows that the log holds are not made again.
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor, nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet, as_floats
from sslbook.methods import VAE
from sslbook.methods.vae import kl_to_normal, reconstruction_error, reparameterise
from sslbook.pretrain import pretrain
from sslbook.samples import Judge

UNTRAINED, HUGE = "untrained", 10_000.0
RUNS = {  # arguments of VAE that differ from the recipe
    UNTRAINED: {},
    "the recipe": {},
    "beta 0": {"beta": 0.0},
    "beta 100": {"beta": 100.0},
    "beta 10,000": {"beta": HUGE},
    "beta 10,000, warm-up": {"beta": HUGE, "warmup": 0.5},
    "beta 10,000, free bits": {"beta": HUGE, "free_bits": 1.0},
    "no reparameterisation": {"reparameterise": False},
}


def codes_of(method: VAE, images: ImageSet) -> tuple[Tensor, Tensor]:
    """mu and log sigma^2, each (N, latents), in eval mode."""
    return evaluate.embed(nn.Sequential(method.encoder, method.head), images).chunk(2, dim=1)


@torch.no_grad()
def row_of(name: str, seed: int, plan: Budget, sets: tuple[ImageSet, ImageSet], judge: Judge) -> dict:
    """One run and its end, measured on test images."""
    (train, test), recipe = sets, plan.recipe("VAE")
    method, row = plan.make("VAE", seed, **RUNS[name]), {"VAE": name}
    if name != UNTRAINED:
        settings = recipe.train | dict(epochs=max(1, recipe.train["epochs"] // 4))
        with torch.enable_grad():
            history = pretrain(method, train, seed=seed, show_progress=False, **settings)
        row["seconds"] = history.seconds
    method.eval()
    generator = torch.Generator().manual_seed(seed)
    means, drawn, labels = [], [], (train.labels, test.labels)
    for images in (train, test):
        mu, logvar = codes_of(method, images)
        means.append(mu)
        drawn.append(reparameterise(mu, logvar, torch.randn(mu.shape, generator=generator)))
    painted = method.decode(drawn[1])
    row["reconstruction"] = reconstruction_error(painted, as_floats(test.images), sigma=method.sigma).mean().item()
    row["KL"] = kl_to_normal(mu, logvar).sum(dim=1).mean().item()
    row["active units"] = evaluate.active_units(means[1])
    factors = {"class": test.labels} | test.factors
    row["MIG"] = evaluate.mutual_information_gap(drawn[1], factors)
    features = [evaluate.embed(method.encoder, images) for images in (train, test)]
    for what, (known, asked) in {"h": features, "mu": means, "z": drawn}.items():
        row[f"kNN of {what}"] = evaluate.knn(known, labels[0], asked, labels[1])
        row[f"linear of {what}"] = evaluate.linear_evaluation(known, labels[0], asked, labels[1])
    prior = method.decode(torch.randn(drawn[1].shape, generator=generator))
    row["distance, painted again"] = judge.frechet(test, painted)
    row["distance, from the prior"] = judge.frechet(test, prior)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="one epoch of few images, nothing is written")
    options = parser.parse_args()
    plan = BUDGETS["cpu"]
    if options.small:
        plan = replace(plan, train=512, test=256, epochs=1)
    sets, seed = plan.load(), options.seed
    judge = Judge(*sets, epochs=1 if options.small else plan.supervised_epochs)
    again = f"python experiments/vae_study.py --seed {seed}"
    study = results.Study(f"vae-{seed}", dry=options.small, seed=seed, judge=judge.accuracy, again=again)
    for name in RUNS:
        if study.has(VAE=name):
            continue
        study.add(row_of(name, seed, plan, sets, judge))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
