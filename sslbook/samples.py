"""How good are painted pictures? A network that was trained with labels compares them with real ones, no download.

>>> judge = Judge(train, test)
>>> judge.frechet(test, painted), judge.classes(painted)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbook.encoders import make_encoder
from sslbook.evaluate import embed
from sslbook.finetune import supervised
from sslbook.images import ImageSet
from sslbook.views import Augmentation, shapes_views


class Judge:
    """The book's small ConvNet, trained on labels in some 20 seconds: its features, and its guesses.

    The numbers of two judges don't compare: keep to one, with its seed and its images.

    Args:
        train: labelled images.
        test: labelled images of the same classes, by which the judge itself is judged: `accuracy`.
        epochs: over `train`.
        view: what is shown of each image; by default the shapes' views.
        seed: decides weights, batches and views.

    Raises:
        ValueError: an image of `train` has no label, or all are of one class; the classes of `test` are others.
    """

    def __init__(
        self, train: ImageSet, test: ImageSet, *, epochs: int = 12, view: Augmentation | None = None, seed: int = 0
    ):
        if test.classes != train.classes:
            raise ValueError(f"the test images are of the classes {test.classes}, the others of {train.classes}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = make_encoder("convnet", min(train.size)).to(train.images.device)
        view = view or shapes_views(3 * min(train.size) // 4)[0]  # a crop shows a thing as large as a test picture
        options = dict(epochs=epochs, view=view, seed=seed, batch_size=min(128, len(train)), show_progress=False)
        self.classifier: nn.Linear = supervised(self.encoder, train, **options)
        self.names = list(train.classes)
        right = self.guesses(test) == test.labels.to(train.images.device)
        self.accuracy = right.float().mean().item()

    def features(self, pictures: Tensor | ImageSet) -> Tensor:
        """(n, D), of pictures (n, 3, H, W), uint8 or floats in [0, 1]."""
        return embed(self.encoder, pictures)

    @torch.no_grad()
    def guesses(self, pictures: Tensor | ImageSet) -> Tensor:
        """The class that each picture looks most like, (n,) int64."""
        return self.classifier(self.features(pictures)).argmax(dim=1)

    def classes(self, pictures: Tensor | ImageSet) -> Tensor:
        """Which share of the pictures looks like each class: (classes,), sums to 1; `names` says which is which."""
        guesses = self.guesses(pictures)
        return guesses.bincount(minlength=len(self.names)) / len(guesses)

    def frechet(self, real: Tensor | ImageSet, fake: Tensor | ImageSet) -> float:
        """`frechet_distance` of their features. Few pictures make it larger: compare as many of each each time."""
        return frechet_distance(self.features(real), self.features(fake))


def classes_drawn(shares: Tensor) -> float:
    """How many classes there are, in effect: exp of the entropy of shares (classes,), which is 1 if all is of one."""
    return torch.special.entr(shares.double()).sum().exp().item()


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Between the Gaussians that have the mean and covariance of two sets of features, (n, D) and (m, D).

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Heusel et al., 2017, equation 6), which is 0 for sets with
    the same two moments. With the features of Inception-v3 it is the FID.

    Raises:
        ValueError: not two sets of features of one length, or fewer than two rows.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"features must be (n, D) and (m, D), two rows or more; got {shapes}")
    x, y = x.double(), y.double()
    c_x, c_y = (torch.cov(z.T).view(z.shape[1], z.shape[1]) for z in (x, y))
    # C_x C_y has the eigenvalues of R C_y R with R = C_x^(1/2), which is symmetric
    values, vectors = torch.linalg.eigh(c_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ c_y @ root).clamp(min=0).sqrt().sum()
    apart = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return (apart + c_x.trace() + c_y.trace() - 2 * overlap).item()
