"""What each of VICReg's three weights is for: short trainings with one grid of weights, and the spectrum of each.

    python experiments/vicreg_dials.py --seed 0
    python experiments/vicreg_dials.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/vicreg-dials-<seed>.json. For each run, and for the network before any training: kNN and a linear
probe of h; of 512 test images, as the loss sees them, the deviation of z's features, spread, RankMe and the largest
singular values of z and of h; and the three terms in each epoch. Rows that the log holds are not made again.
"""

from typing import Any

import torch
from study_options import study_options
from torch import Tensor

from sslbook import evaluate, results
from sslbook.images import ImageSet
from sslbook.methods import VICReg
from sslbook.patients import to_z
from sslbook.pretrain import pretrain

WATCHED, SHARE = 512, 0.25  # images, and of the recipe's epochs
LARGEST, LEAST = 32, 1e-5  # singular values that are kept, and what counts as nothing
INVARIANCE, VARIANCE, COVARIANCE = 25, (0, 1, 25), (0, 1, 25)
BESIDE = ((0, 25, 1), (5, 25, 1))  # the recipe with less invariance
TERMS = ("invariance", "variance", "covariance")


def weights() -> list[tuple[float, float, float]]:
    """(lambda, mu, nu) of all runs."""
    return [(INVARIANCE, mu, nu) for mu in VARIANCE for nu in COVARIANCE] + list(BESIDE)


def spectrum(x: Tensor) -> list[float]:
    """log10 of the largest deviations of (N, D) along its own directions, from the largest on."""
    x = (x - x.mean(dim=0)).double()
    deviations = torch.linalg.svdvals(x)[:LARGEST] / (len(x) - 1) ** 0.5
    return [round(value, 3) for value in deviations.clamp(min=LEAST).log10().tolist()]


def measures(method: VICReg, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """What a network has learnt, and how its embeddings lie."""
    watched = test[:WATCHED]
    z = evaluate.embed_batch(to_z(method), watched)
    h = evaluate.embed_batch(method.encoder, watched)
    report = evaluate.report(method.encoder, train, test)
    row = {question: report[question] for question in ("kNN", "linear")}
    row["deviation of z"] = z.std(dim=0).mean().item()
    row["spread of z"] = evaluate.spread(z)
    for name, x in (("z", z), ("h", h)):
        row[f"RankMe of {name}"] = evaluate.rankme(x - x.mean(dim=0))
        row[f"spectrum of {name}"] = spectrum(x)
    return row


def main() -> None:
    seed, small, plan = study_options(__doc__)
    train, test = plan.load()
    recipe = plan.recipe("VICReg")
    epochs = 1 if small else max(2, round(SHARE * recipe.train["epochs"]))
    settings = recipe.train | dict(epochs=epochs, seed=seed, show_progress=False)
    again = f"python experiments/vicreg_dials.py --seed {seed}"
    name = f"vicreg-dials-{seed}"
    study = results.Study(name, dry=small, seed=seed, again=again, epochs=epochs)
    if not study.has(VICReg="untrained"):
        study.add(dict(VICReg="untrained") | measures(plan.make("VICReg", seed), train, test))
    for lambd, mu, nu in weights():
        run = f"{lambd}/{mu}/{nu}"
        if study.has(VICReg=run):
            continue
        method = plan.make("VICReg", seed, lambd=lambd, mu=mu, nu=nu)
        history = pretrain(method, train, **settings)
        row = dict(VICReg=run, lambd=lambd, mu=mu, nu=nu, **measures(method, train, test))
        row["curves"] = {term: [round(x, 5) for x in history[term]] for term in TERMS}
        print(run, f"kNN {row['kNN']:.3f}, deviation {row['deviation of z']:.3f}, RankMe {row['RankMe of z']:.1f}")
        study.add(row)


if __name__ == "__main__":
    main()
