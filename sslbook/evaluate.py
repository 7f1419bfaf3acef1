"""What has an encoder learnt? kNN, linear evaluation, fine-tuning, and measures of collapse.

The encoder is frozen here: `eval()` mode, no gradient. Every function works on features, so that each picture is
encoded once; `embed` makes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.images import ImageSet


@torch.no_grad()
def embed(encoder: nn.Module, images: Tensor | ImageSet, batch_size: int = 512) -> Tensor:
    """Features of every image with the encoder frozen: (N, 3, H, W), uint8 or floats in [0, 1], to (N, D) float32.

    The encoder's mode is put back afterwards; its weights and its batch norm statistics do not move.
    """
    images = getattr(images, "images", images)
    device = next((p.device for p in encoder.parameters()), images.device)
    training = encoder.training
    encoder.eval()
    try:
        features = []
        for batch in images.split(batch_size):
            x = batch.to(device, non_blocking=True)
            x = x / 255 if x.dtype == torch.uint8 else x
            features.append(encoder(x.contiguous(memory_format=torch.channels_last)).flatten(1).float())
        return torch.cat(features)
    finally:
        encoder.train(training)


def knn_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.1,
    classes: int | None = None,
) -> Tensor:
    """Class scores (M, C) of a weighted k-nearest-neighbour vote (Wu et al., 2018, section 3.4).

    Each of the k nearest training rows by cosine votes for its label with weight exp(cosine / temperature).
    The defaults are those of the CIFAR-10 tables; DINO's for ImageNet are k=20, temperature=0.07.
    """
    if not 0 < k <= len(train_features):
        raise ValueError(f"k must lie between 1 and the {len(train_features)} training rows, got {k}")
    if len(train_features) != len(train_labels):
        raise ValueError(f"{len(train_features)} training features but {len(train_labels)} labels")
    train_labels = train_labels.to(train_features.device)
    classes = classes or int(train_labels.max()) + 1
    train = F.normalize(train_features, dim=1).T
    scores = []
    for rows in F.normalize(test_features, dim=1).split(1024):
        similarity, nearest = (rows @ train).topk(k, dim=1)
        weights = (similarity / temperature).exp()
        votes = torch.zeros(len(rows), classes, device=rows.device, dtype=rows.dtype)
        scores.append(votes.scatter_add_(1, train_labels[nearest], weights))
    return torch.cat(scores)


def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Share of test rows whose weighted k-nearest-neighbour vote (`knn_scores`) is right, in [0, 1]."""
    scores = knn_scores(train_features, train_labels, test_features, k=k, temperature=temperature)
    return (scores.argmax(dim=1) == test_labels.to(scores.device)).float().mean().item()


def linear_evaluation(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    weight_decay: float = 1e-3,
    steps: int = 100,
) -> float:
    """Test accuracy in [0, 1] of a linear classifier on frozen features.

    Multinomial logistic regression with an L2 penalty, fitted to the end by L-BFGS (as SimCLR, appendix B.8), on
    features standardised with the training set's mean and deviation (as MAE's probe, appendix A.1).
    """
    mean, deviation = train_features.mean(dim=0), train_features.std(dim=0).clamp(min=1e-6)
    x, x_test = ((f - mean) / deviation for f in (train_features, test_features))
    classifier = nn.Linear(x.shape[1], int(train_labels.max()) + 1).to(x)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.LBFGS(classifier.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(classifier(x), train_labels) + weight_decay / 2 * classifier.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    with torch.no_grad():
        return (classifier(x_test).argmax(dim=1) == test_labels).float().mean().item()


def few_labels(labels: Tensor, share: float) -> Tensor:
    """Indices of the first `share` of each class's images, at least one of each class."""
    classes = [(labels == c).nonzero()[:, 0] for c in labels.unique()]
    return torch.cat([rows[: max(1, round(share * len(rows)))] for rows in classes])


def report(features: nn.Module | Callable[[ImageSet], Tensor], train: ImageSet, test: ImageSet) -> dict[str, float]:
    """The questions that this book asks of every encoder, and the answers: accuracies in [0, 1].

    Args:
        features: an encoder, which is frozen, or a function from an image set to features (N, D).
        train, test: labelled image sets.
    """
    x, y = (embed(features, s) if isinstance(features, nn.Module) else features(s) for s in (train, test))
    labels, test_labels = train.labels.to(x.device), test.labels.to(y.device)
    few = few_labels(labels, 0.01)
    row = {
        "kNN": knn(x, labels, y, test_labels, k=min(200, len(x))),
        "linear": linear_evaluation(x, labels, y, test_labels),
        "linear, 1 % of labels": linear_evaluation(x[few], labels[few], y, test_labels),
    }
    if "hue" in train.factors:  # the shapes: what an augmentation made the encoder forget
        hue, test_hue = ((8 * s.factors["hue"]).long().to(x.device) for s in (train, test))
        row["linear, hue"] = linear_evaluation(x, hue, y, test_hue)
    return row


def alignment(x: Tensor, y: Tensor, alpha: float = 2) -> Tensor:
    """How close two views of an image lie: mean ||x - y||^alpha over unit rows (Wang & Isola, 2020, section 4.1)."""
    return (x - y).norm(dim=1).pow(alpha).mean()


def uniformity(x: Tensor, t: float = 2) -> Tensor:
    """How evenly unit rows (N, D) fill the sphere: log mean exp(-t ||x_i - x_j||^2), i < j; 0 is collapse, lower is
    better (Wang & Isola, 2020, section 4.1)."""
    return torch.pdist(x).pow(2).mul(-t).exp().mean().log()


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """Effective rank of features (N, D), between 1 and min(N, D): exp of the entropy of the singular values
    (Garrido et al., 2023, equation 2; not centred)."""
    s = torch.linalg.svdvals(features.float() if features.dtype == torch.half else features)
    p = s / s.sum() + eps
    return torch.exp(-(p * p.log()).sum()).item()


def spread(features: Tensor) -> float:
    """Standard deviation of unit features over the batch times sqrt(D): about 1 spread over the sphere, 0 collapsed
    (SimSiam, section 4.1)."""
    return (F.normalize(features, dim=1).std(dim=0).mean() * features.shape[1] ** 0.5).item()
