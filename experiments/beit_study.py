"""What is in a code, and what does BEiT learn from it? Tokenisers side by side, and BEiT broken: three seeds.

    python experiments/beit_study.py           # about 75 CPU-minutes
    python experiments/beit_study.py --small   # does it run at all? Nothing is written

writes results/studies/beit.json. For each run: of the tokeniser how many codes are in use, what a patch's code says of
each factor (bits, and bits by chance), and what a linear probe reads from the bag of an image's codes; of the training
loss and accuracy, beside the share of the commonest code; of the encoder kNN and linear probes. Rows that the log holds
are not made again.
"""

from dataclasses import replace

import torch
from study_options import study_parser
from torch import nn

from sslbook import evaluate, results
from sslbook.budget import BUDGETS, Budget
from sslbook.images import ImageSet
from sslbook.methods.vqvae import VQVAE
from sslbook.pretrain import pretrain
from sslbook.views import crop_views

SEEDS = (0, 1, 2)
UNTRAINED, NETWORK = "untrained", "VQ-VAE"
RUNS = {  # arguments of BEiT that differ from the recipe
    UNTRAINED: {},
    "gradients (the recipe)": {},
    "all gradients": {"tokeniser": "all gradients"},
    "windows": {"tokeniser": "windows"},
    "pixels": {"tokeniser": "pixels"},
    "pixels, any hue": {"tokeniser": "pixels", "any_hue": True},
    NETWORK: {},
    "random hash": {"tokeniser": "hash"},
    "K = 8": {"k": 8},
    "scattered masks": {"blockwise": False},
}


def network(train: ImageSet, k: int, seed: int, epochs: int) -> VQVAE:
    """A small VQ-VAE, trained for some seconds."""
    torch.manual_seed(seed)
    tokeniser = VQVAE(k)
    options = dict(batch_size=64, lr=2e-3, views=crop_views(32, 0.5), show_progress=False)
    pretrain(tokeniser, train, epochs=epochs, seed=seed, **options)
    return tokeniser


@torch.no_grad()
def codes_of(tokeniser: nn.Module, images: ImageSet) -> torch.Tensor:
    """(N, L), of the images as they are."""
    return torch.cat([tokeniser(part / 255) for part in images.images.split(512)])


def of_codes(tokeniser: nn.Module, train: ImageSet, test: ImageSet) -> dict:
    """What codes say, before anything is trained on them."""
    known, asked = codes_of(tokeniser, train), codes_of(tokeniser, test)
    shares = known.flatten().bincount(minlength=tokeniser.k) / known.numel()
    parts = evaluate.in_parts(train)
    bags = [evaluate.bags(codes, tokeniser.k) for codes in (known, asked)]
    hues = [(8 * images.factors["hue"]).long() for images in (train, test)]
    return {
        "codes in use": torch.special.entr(shares).sum().exp().item(),
        "commonest code": shares.max().item(),
        "bits": {name: evaluate.bits_of_a_patch(known, part) for name, (part, _) in parts.items()},
        "bits by chance": {
            name: evaluate.by_chance(evaluate.bits_of_a_patch, known, part, draws=3)
            for name, (part, _) in parts.items()
        },
        "bag, class": evaluate.linear_evaluation(bags[0], train.labels, bags[1], test.labels),
        "bag, hue": evaluate.linear_evaluation(bags[0], hues[0], bags[1], hues[1]),
    }


def row_of(name: str, seed: int, plan: Budget, train: ImageSet, test: ImageSet) -> dict:
    """One run: its tokeniser, its course, its end."""
    recipe = plan.recipe("BEiT")
    changes = dict(RUNS[name])
    if name == NETWORK:
        epochs = max(1, plan.epochs // 8)
        changes["tokeniser"] = network(train, recipe.method["k"], seed, epochs)
    method, row = plan.make("BEiT", seed, **changes), {"BEiT": name, "seed": seed}
    if name != UNTRAINED:
        history = pretrain(method, train, seed=seed, show_progress=False, **recipe.train)
        row |= {"loss": history["loss"][-1], "accuracy": history["accuracy"][-1], "seconds": history.seconds}
        row |= of_codes(method.tokeniser, train, test)
    report = evaluate.report(method.encoder, train, test)
    return row | {question: report[question] for question in ("kNN", "linear", "linear, hue")}


def main() -> None:
    parser = study_parser(__doc__, seed=False)
    small = parser.parse_args().small
    plan = BUDGETS["cpu"]
    if small:
        plan = replace(plan, train=512, test=256, epochs=1)
    train, test = plan.load()
    study = results.Study("beit", dry=small, seed=SEEDS, again="python experiments/beit_study.py")
    for seed in SEEDS[:1] if small else SEEDS:
        for name in RUNS:
            if study.has(BEiT=name, seed=seed):
                continue
            row = row_of(name, seed, plan, train, test)
            print(name, seed, f"kNN {row['kNN']:.3f}, linear {row['linear']:.3f}", flush=True)
            study.add(row)


if __name__ == "__main__":
    main()
