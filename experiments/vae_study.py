"""What becomes of a VAE without its parts? Its recipe, and the same with one thing changed, a third as long.

    python experiments/vae_study.py --seed 0   # (1, 2) about 4 CPU-minutes each
    python experiments/vae_study.py --small    # does it run at all? Nothing is written

writes results/studies/vae-<seed>.json. For each run, measured on test pictures: both terms of the bound, in nats; how
many latents are active; how far the codes of all pictures together are from the normal distribution that one draws
from; the mutual information gap; kNN and linear probes of h, of mu and of a code that is drawn. Rows that the log holds
are not made again.
"""

from dataclasses import replace

import torch
from study_options import study_parser
from torch import Tensor, nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet, as_floats
from sslbook.methods import VAE
from sslbook.methods.vae import kl_to_normal, reconstruction_error, reparameterise
from sslbook.pretrain import pretrain

UNTRAINED = "untrained"
RUNS = {  # arguments of VAE that differ from the recipe
    UNTRAINED: {},
    "the recipe": {},
    "beta 0": {"beta": 0.0},
    "beta 30": {"beta": 30.0},
    "beta 1,000": {"beta": 1000.0},
    "beta 1,000, free bits": {"beta": 1000.0, "free_bits": 1.0},
    "no reparameterisation": {"reparameterise": False},
}


def apart_from_normal(z: Tensor) -> float:
    """KL(N(mean, covariance of z) || N(0, 1)) in nats, of the codes z (N, latents) of all pictures."""
    z = z.double()
    mean, covariance = z.mean(dim=0), torch.cov(z.T)
    return (covariance.trace() + mean.square().sum() - len(mean) - torch.logdet(covariance)).item() / 2


def codes_of(method: VAE, images: ImageSet) -> tuple[Tensor, Tensor]:
    """mu and log sigma^2, each (N, latents), in eval mode."""
    return evaluate.embed(nn.Sequential(method.encoder, method.head), images).chunk(2, dim=1)


@torch.no_grad()
def row_of(name: str, seed: int, plan: Budget, sets: tuple[ImageSet, ImageSet]) -> dict:
    """One run and its end, measured on test images."""
    (train, test), recipe = sets, plan.recipe("VAE")
    method, row = plan.make("VAE", seed, **RUNS[name]), {"VAE": name}
    if name != UNTRAINED:
        settings = recipe.train | dict(epochs=max(1, recipe.train["epochs"] // 3))
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
    row["apart from N(0, 1)"] = apart_from_normal(drawn[1])
    row["MIG"] = evaluate.mutual_information_gap(drawn[1], {"class": test.labels} | test.factors)
    features = [evaluate.embed(method.encoder, images) for images in (train, test)]
    for what, (known, asked) in {"h": features, "mu": means, "z": drawn}.items():
        row[f"kNN of {what}"] = evaluate.knn(known, labels[0], asked, labels[1])
        row[f"linear of {what}"] = evaluate.linear_evaluation(known, labels[0], asked, labels[1])
    return row


def main() -> None:
    parser = study_parser(__doc__)
    options = parser.parse_args()
    plan = BUDGETS["cpu"]
    if options.small:
        plan = replace(plan, train=512, test=256, epochs=1)
    sets, seed = plan.load(), options.seed
    again = f"python experiments/vae_study.py --seed {seed}"
    study = results.Study(f"vae-{seed}", dry=options.small, seed=seed, again=again)
    for name in RUNS:
        if study.has(VAE=name):
            continue
        study.add(row_of(name, seed, plan, sets))
        print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
