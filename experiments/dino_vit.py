"""What a ViT's attention and patches show after DINO, and how well they cut the shapes out: IoU with the true masks.

    python experiments/dino_vit.py --seed 0
    python experiments/dino_vit.py --seed 0 --small   # does it run at all? Nothing is written

writes results/studies/dino-vit-<seed>.json. Each row is one ViT: untrained, trained by DINO, trained with labels. It
has kNN and linear probe, the IoU of each attention head and of the patches' first three principal components, and of
the first test images the attention of each head and the patches' components as colours. A patch belongs to the
shape if more than half of it does. Rows that the log holds are not made again.
"""

from typing import Any

import torch
import torch.nn.functional as F
from study_options import study_options
from torch import Tensor

from sslbook import evaluate, results, shapes
from sslbook.budget import Budget
from sslbook.finetune import supervised
from sslbook.images import ImageSet
from sslbook.methods import DINO
from sslbook.methods.registry import adamw
from sslbook.pretrain import pretrain
from sslbook.views import multi_crop
from sslbook.vit import ViT

SHOWN = 8
METHOD = dict(K=128, hidden=256, bottleneck=64, T_t=0.02, centring="sinkhorn", tau=0.95, weight_decay_end=0.1)
TRAIN = adamw(2e-3, 0.04, batch_size=64, epochs=12)
CROPS = dict(small=16, number=2, scale=(0.1, 0.3))
LABELLED = dict(lr=1e-3, batch_size=64, epochs=12)
KINDS = ("untrained", "DINO", "supervised")


def make(kind: str, plan: Budget, seed: int, train: ImageSet, epochs: int | None) -> ViT:
    """A ViT whose features are the CLS token's, trained as `kind` says."""
    vit = plan.encoder("vit", seed)
    vit.pool = "cls"
    limit = {} if epochs is None else dict(epochs=epochs)
    if kind == "DINO":
        torch.manual_seed(seed)
        method = DINO(vit, **METHOD)
        views = multi_crop(plan.views, **CROPS)
        pretrain(method, train, seed=seed, views=views, show_progress=False, **TRAIN | limit)
    if kind == "supervised":
        supervised(vit, train, view=plan.views[0], seed=seed, show_progress=False, **LABELLED | limit)
    return vit


def true_masks(images: ImageSet, patch: int) -> Tensor:
    """Bool (n, rows, columns): the patches more than half of which lie inside the shape."""
    return F.avg_pool2d(shapes.cover(images.labels, images.factors)[:, None], patch)[:, 0] > 0.5


@torch.no_grad()
def looks(vit: ViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Attention (n, heads, rows, columns), and the three first components of all patches (n, rows, columns, 3).

    A component's sign is such that fewer patches are above the mean than below: the shape is the smaller part.
    """
    attention = vit.eval().attention(images)
    patches = vit.patch_features(images)
    x = patches.flatten(0, 1)
    x = x - x.mean(dim=0)
    components = x @ torch.linalg.svd(x, full_matrices=False).Vh[:3].T
    larger = (components > 0).float().mean(dim=0) > 0.5
    components = torch.where(larger, -components, components)
    return attention, components.view(*attention.shape[:1], *attention.shape[2:], 3)


def row_of(kind: str, vit: ViT, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """What becomes of one ViT."""
    report = evaluate.report(vit, train, test)
    row = dict(ViT=kind, kNN=report["kNN"], linear=report["linear"])
    attention, components = looks(vit, test.images / 255)
    truth = true_masks(test, vit.patch)
    masks = evaluate.attended(attention)
    row["IoU of each head"] = [evaluate.iou(masks[:, head], truth) for head in range(masks.shape[1])]
    row["IoU of each component"] = [evaluate.iou(components[..., i] > 0, truth) for i in range(3)]
    low, high = components.flatten(0, 2).quantile(torch.tensor([0.02, 0.98]), dim=0)
    colours = ((components[:SHOWN] - low) / (high - low)).clamp(0, 1)
    shown = dict(attention=short(attention[:SHOWN], 4), colours=short(colours, 2))
    return row | shown


def short(x: Tensor, digits: int) -> list:
    """Nested lists of numbers with few digits."""
    if x.ndim == 1:
        return [round(value, digits) for value in x.tolist()]
    return [short(part, digits) for part in x]


def main() -> None:
    seed, small, plan = study_options(__doc__)
    train, test = plan.load()
    again = f"python experiments/dino_vit.py --seed {seed}"
    config = dict(method=METHOD, train=TRAIN, crops=CROPS, labelled=LABELLED)
    name = f"dino-vit-{seed}"
    study = results.Study(name, dry=small, seed=seed, again=again, config=config)
    for kind in KINDS:
        if study.has(ViT=kind):
            continue
        vit = make(kind, plan, seed, train, 1 if small else None)
        row = row_of(kind, vit, train, test)
        numbers = {key: value for key, value in row.items() if key not in ("attention", "colours")}
        print(numbers, flush=True)
        study.add(row)


if __name__ == "__main__":
    main()
