"""Where in a picture does the class lie: where most of its variance is, or in the rest? 3 seeds.

    python experiments/subspaces.py           # about 11 CPU-minutes
    python experiments/subspaces.py --small   # does it run at all? Nothing is written

writes results/studies/subspaces.json. The principal components of the training pictures are found. Of every picture
only its part in the first of them is kept, which a reconstruction pays most for, or only the rest. The ConvNet of the
cpu budget is trained on such pictures with all labels, without augmentation, and asked about test pictures of the same
kind (as Balestriero and LeCun, 2024, do). Rows that the log holds are not made again.
"""

import time
from dataclasses import replace

import torch
from study_options import study_parser
from torch import Tensor

from sslbook import evaluate, results, sets
from sslbook.budget import BUDGETS, Budget
from sslbook.finetune import supervised
from sslbook.images import ImageSet, as_floats
from sslbook.views import Augmentation

SEEDS = (0, 1, 2)
SHARES = (0.5, 0.75, 0.9, 0.95)  # of the variance, that the first components have
ALL, FIRST, REST = "the whole picture", "the first components", "the rest"
PARTS = [(ALL, 1.0)] + [(part, share) for share in SHARES for part in (FIRST, REST)]


def components(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of pictures (n, 3, H, W): their mean (d,), the principal components (d, d) by columns, and the share of the
    variance that the first k have, (d,)."""
    x = as_floats(images).flatten(1).double()
    mean = x.mean(dim=0)
    variances, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    shares = variances.flip(0).clamp(min=0).cumsum(0)
    return mean, vectors.flip(1), shares / shares[-1]


def kept(images: ImageSet, mean: Tensor, vectors: Tensor) -> ImageSet:
    """The pictures' part in these directions, around grey, its contrast such that one value in a thousand is cut.

    So a weak part is as easy to see as a strong one.
    """
    x = as_floats(images.images).flatten(1).double() - mean
    part = x @ vectors @ vectors.T
    strength = 0.5 / part.abs().flatten()[:: max(1, part.numel() // 1_000_000)].quantile(0.999)
    pixels = (255 * (0.5 + strength * part).clamp(0, 1)).round().to(torch.uint8)
    return replace(images, images=pixels.view_as(images.images))


def variance_of(part: str, share: float) -> float:
    """Which share of the variance a part has, if the first components have `share` of it."""
    return round(1 - share if part == REST else share, 2)


def row_of(plan: Budget, part: str, share: float, seed: int, found: tuple[Tensor, Tensor, Tensor]) -> dict:
    """What a network learns from one part of the pictures."""
    mean, vectors, shares = found
    train, test = sets.load("shapes", train=plan.train, test=plan.test)
    first = vectors.shape[1] if part == ALL else int((shares < share).sum()) + 1
    directions = vectors[:, first:] if part == REST else vectors[:, :first]
    if part != ALL:
        train, test = kept(train, mean, directions), kept(test, mean, directions)
    cpu = time.process_time()
    encoder, view = plan.encoder(seed=seed), Augmentation(plan.size)
    classifier = supervised(encoder, train, epochs=plan.supervised_epochs, view=view, seed=seed, show_progress=False)
    with torch.no_grad():
        found_right = classifier(evaluate.embed(encoder, test)).argmax(dim=1) == test.labels
    return {
        "kept": part,
        "share of the variance": variance_of(part, share),
        "components": directions.shape[1],
        "seed": seed,
        "with labels": found_right.float().mean().item(),
        "CPU-seconds": time.process_time() - cpu,
    }


def main() -> None:
    parser = study_parser(__doc__, seed=False)
    small = parser.parse_args().small
    torch.set_num_threads(1)
    plan = BUDGETS["cpu"]
    if small:
        plan = replace(plan, train=512, test=128, supervised_epochs=2)
    found = components(sets.load("shapes", train=plan.train, test=1)[0].images)
    study = results.Study("subspaces", dry=small, seed=SEEDS, again="python experiments/subspaces.py")
    for seed in SEEDS[:1] if small else SEEDS:
        for part, share in PARTS:
            variance = variance_of(part, share)
            if not study.has(**{"kept": part, "share of the variance": variance, "seed": seed}):
                study.add(row_of(plan, part, share, seed, found))
                print(study.rows[-1], flush=True)


if __name__ == "__main__":
    main()
