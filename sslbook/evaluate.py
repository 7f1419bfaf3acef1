"""What has an encoder learnt? kNN, linear evaluation, fine-tuning, and measures of collapse.

The encoder is frozen here: `eval()` mode, no gradient. Every function works on features, so that each picture is
encoded once; `embed` makes them. Whether a training collapses is asked of `embed_batch`, in the mode of the loss.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.images import ImageSet, as_floats
from sslbook.words import TextSet

K = 200  # neighbours that vote, as in the CIFAR-10 tables
DRAWS = 10  # of which labels are known, where few are


@torch.no_grad()
def embed(encoder: nn.Module, images: Tensor | ImageSet | TextSet, batch_size: int = 128) -> Tensor:
    """Features of every image with the encoder frozen: (N, 3, H, W), uint8 or floats in [0, 1], to (N, D) float32.

    Or of every text, (N, L) int64.

    The encoder's mode is put back afterwards; its weights and its batch norm statistics do not move.
    """
    images = _examples(images)
    device = next((p.device for p in encoder.parameters()), images.device)
    training = encoder.training
    encoder.eval()
    try:
        features = []
        for batch in images.split(batch_size):
            x = _input(batch.to(device, non_blocking=True))
            features.append(encoder(x).flatten(1).float())
        return torch.cat(features)
    finally:
        encoder.train(training)


@torch.no_grad()
def embed_batch(network: nn.Module, images: Tensor | ImageSet) -> Tensor:
    """What the loss sees: outputs (N, D) float32 of one batch in train mode, batch norm with this batch's statistics.

    Measures of a collapse belong on these. In eval mode batch norm takes its running statistics, which lag behind the
    weights: an untrained network looks collapsed then, and a healthy one may. A copy is asked: looking changes nothing.
    """
    images = _examples(images)
    device = next((p.device for p in network.parameters()), images.device)
    watched = copy.deepcopy(network).train()
    return watched(_input(images.to(device))).flatten(1).float()


def _examples(data: Tensor | ImageSet | TextSet) -> Tensor:
    """The images of a set, or the words of one of texts."""
    if isinstance(data, TextSet):
        return data.tokens
    return getattr(data, "images", data)


def _input(batch: Tensor) -> Tensor:
    """What an encoder takes: images as floats, the numbers of words as they are."""
    if batch.dtype == torch.int64 and batch.ndim == 2:
        return batch
    return as_floats(batch).contiguous(memory_format=torch.channels_last)


def to_judge(train: ImageSet, test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Both sets without the images that have no label, and the test set's classes numbered as those of `train`.

    Raises ValueError if a class of the test images is not in `train`, a set has no labels, or `train` one class only.
    """
    train, test = _labelled(train, "train"), _labelled(test, "test")
    if len(train.labels.unique()) < 2:
        raise ValueError("there is one class only: nothing to tell apart")
    if train.classes == test.classes:
        return train, test
    asked = {test.classes[label] for label in test.labels.unique().tolist()}
    unknown = sorted(asked - set(train.classes))
    if unknown:
        there = ", ".join(train.classes)
        raise ValueError(f"test images are of the class {unknown[0]!r}, which no train image has; they have {there}")
    number = [train.classes.index(name) if name in asked else -1 for name in test.classes]
    labels = torch.tensor(number, device=test.labels.device)[test.labels]
    return train, replace(test, labels=labels, classes=train.classes)


def _labelled(images: ImageSet, which: str) -> ImageSet:
    known = images.labels >= 0
    if not known.any():
        raise ValueError(f"no {which} image has a label: photos need a sub-folder for each class")
    return images if known.all() else images[known]


def neighbours(labels: Tensor, most: int = K) -> int:
    """How many vote in a kNN: `most`, or as many as the smallest class has, lest the others outvote it."""
    return min(most, int(labels.unique(return_counts=True)[1].min()))


def _checked(features: Tensor, labels: Tensor, which: str) -> Tensor:
    """Features for sums of many terms: float32, or float64 if they are; ValueError if they or their labels are none."""
    if features.ndim != 2 or not len(features):
        raise ValueError(f"{which} features must be (N, D), at least one; got {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"{len(features)} {which} features but {_count(labels)} labels")
    if labels.min() < 0:
        raise ValueError(f"a {which} label is negative, which means not labelled: leave these images out")
    return _finite(features)


def _standardised(train_features: Tensor, test_features: Tensor) -> tuple[Tensor, ...]:
    """Both with the training set's mean taken away, and divided by its deviation."""
    mean, deviation = train_features.mean(dim=0), (train_features.var(dim=0) + 1e-6).sqrt()
    return tuple((f - mean) / deviation for f in (train_features, test_features))


def _count(labels: Tensor) -> str:
    return str(len(labels)) if labels.ndim == 1 else str(tuple(labels.shape))


def _finite(features: Tensor) -> Tensor:
    broken = (~features.isfinite()).flatten(1).any(dim=1).sum().item()
    if broken:
        raise ValueError(f"{broken} of {len(features)} rows of features are not finite: the encoder is broken")
    return features if features.dtype == torch.float64 else features.float()


def knn_scores(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int = K,
    temperature: float = 0.1,
    classes: int | None = None,
) -> Tensor:
    """Class scores (M, C) of a weighted k-nearest-neighbour vote (Wu et al., 2018, section 3.4).

    Each of the k nearest training rows by cosine votes for its label with weight exp(cosine / temperature), divided by
    the sum of the k weights: a row of scores sums to 1. The defaults are those of the CIFAR-10 tables; DINO's for
    ImageNet are k=20, temperature=0.07.

    Raises ValueError if k, the labels or the features do not fit, or a feature is not finite.
    """
    train_features, test_features = _checked(train_features, train_labels, "training"), _finite(test_features)
    if not 0 < k <= len(train_features):
        raise ValueError(f"k must lie between 1 and the {len(train_features)} training rows, got {k}")
    train_labels = train_labels.to(train_features.device)
    classes = classes or int(train_labels.max()) + 1
    train = F.normalize(train_features, dim=1).T
    scores = []
    for rows in F.normalize(test_features, dim=1).split(1024):
        similarity, nearest = (rows @ train).topk(k, dim=1)
        weights = (similarity / temperature).softmax(dim=1)  # the largest is taken out first: exp(1 / .01) is infinite
        votes = torch.zeros(len(rows), classes, device=rows.device, dtype=rows.dtype)
        scores.append(votes.scatter_add_(1, train_labels[nearest], weights))
    return torch.cat(scores)


def knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    k: int = K,
    temperature: float = 0.1,
) -> float:
    """Share of test rows whose weighted k-nearest-neighbour vote (`knn_scores`) is right, in [0, 1]."""
    test_features = _checked(test_features, test_labels, "test")
    scores = knn_scores(train_features, train_labels, test_features, k=k, temperature=temperature)
    return (scores.argmax(dim=1) == test_labels.to(scores.device)).float().mean().item()


def linear_evaluation(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    weight_decay: float = 1e-3,
    steps: int = 1000,
) -> float:
    """Test accuracy in [0, 1] of a linear classifier on frozen features.

    Multinomial logistic regression with an L2 penalty, fitted to the end by L-BFGS (as SimCLR, appendix B.8), on
    features standardised with the training set's mean and variance, to which 1e-6 is added (as MAE's probe, appendix
    A.1). Warns if `steps` were too few to get to the end. Raises ValueError if features and labels do not fit, a
    feature is not finite, or there is one class only.
    """
    train_features = _checked(train_features, train_labels, "training")
    test_features = _checked(test_features, test_labels, "test")
    if len(train_labels.unique()) < 2:
        raise ValueError("there is one class only: nothing to tell apart")
    x, x_test = _standardised(train_features, test_features)
    classifier = nn.Linear(x.shape[1], int(train_labels.max()) + 1).to(x)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    limits = dict(max_iter=steps, max_eval=10 * steps)
    optimizer = torch.optim.LBFGS(classifier.parameters(), **limits, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(classifier(x), train_labels) + weight_decay / 2 * classifier.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    if optimizer.state[classifier.weight]["n_iter"] >= steps:
        warnings.warn(f"the linear probe was stopped after {steps} steps, before its end", stacklevel=2)
    with torch.no_grad():
        return (classifier(x_test).argmax(dim=1) == test_labels).float().mean().item()


def explained(
    train_features: Tensor, train_values: Tensor, test_features: Tensor, test_values: Tensor, *, ridge: float = 1e-3
) -> float:
    """R² on the test rows of a linear fit of values (N,) or (N, C) from features (N, D); the mean over the columns.

    1 is all of the variance, 0 as much as the training values' mean explains. The fit is `linear_fit`'s.
    """
    known, asked = (v.view(len(v), -1) for v in (train_values, test_values))
    guess = linear_fit(train_features, known, test_features, ridge=ridge)
    asked = asked.to(guess)
    left = (asked - guess).square().mean(dim=0)
    return (1 - left / asked.var(dim=0, correction=0)).mean().item()


def linear_fit(train_features: Tensor, train_values: Tensor, test_features: Tensor, *, ridge: float = 1e-3) -> Tensor:
    """What a linear fit of values (N, C) from features (N, D) says at test features (M, D): (M, C), in float64.

    Features are standardised by the training rows; `ridge` is the penalty on squared weights, beside the mean squared
    error. Raises ValueError if a feature is not finite.
    """
    train_features, test_features = _finite(train_features).double(), _finite(test_features).double()
    x, x_test = _standardised(train_features, test_features)
    known = train_values.to(x)
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (known - known.mean(dim=0)))
    return known.mean(dim=0) + x_test @ weights


def explained_factors(
    train_features: Tensor, train_factors: dict[str, Tensor], test_features: Tensor, test_factors: dict[str, Tensor]
) -> dict[str, float]:
    """`explained` for each factor (N,) of the shapes. The hue is an angle: its cosine and sine are asked for."""
    shares = {}
    for name, known in train_factors.items():
        asked = test_factors[name]
        if name == "hue":
            known, asked = (torch.stack([(2 * math.pi * v).cos(), (2 * math.pi * v).sin()], 1) for v in (known, asked))
        shares[name] = explained(train_features, known, test_features, asked)
    return shares


def factor_information(codes: Tensor, factors: dict[str, Tensor], bins: int = 10) -> Tensor:
    """What each latent says of each factor: I(z_j; v_k) / H(v_k), a share of the factor's entropy, (latents, factors).

    Codes and factors are cut into `bins` of as many images each; int64 factors, as the class, are taken as they are.
    Shares have a bias: (bins - 1)^2 / 2N nats come by chance, 0.04 of 2.3 with 10 bins and 1,024 images.

    Args:
        codes: (N, latents). Of a VAE take codes that are drawn, z = mu + sigma * eps: where a latent has collapsed, mu
            still moves a little, and bins see no size.
        factors: (N,) each, by name, as of an `ImageSet`.

    Raises:
        ValueError: there are no factors, their lengths differ, a code is not finite, or bins is below 2.
    """
    if not factors:
        raise ValueError("there are no factors: photos don't say what they were made from")
    if bins < 2:
        raise ValueError(f"bins must be at least 2, got {bins}")
    if codes.ndim != 2 or any(values.shape != codes.shape[:1] for values in factors.values()):
        shapes = ", ".join(str(tuple(values.shape)) for values in factors.values())
        raise ValueError(f"codes must be (N, latents) and factors (N,), got {tuple(codes.shape)} and {shapes}")
    parts = [values if values.dtype == torch.int64 else _even_parts(values, bins) for values in factors.values()]
    latents = [_even_parts(code, bins) for code in _finite(codes).T]
    return torch.tensor([[_shared(latent, part) for part in parts] for latent in latents])


def _even_parts(values: Tensor, bins: int) -> Tensor:
    """In which of `bins` with as many rows each a value lies, (N,) int64; equal values lie in one."""
    edges = values.quantile(torch.arange(1, bins).to(values) / bins)
    return torch.bucketize(values.contiguous(), edges, right=True)


def _shared(a: Tensor, b: Tensor) -> float:
    """I(a; b) / H(b) of two partitions (N,)."""
    p = _together(a, b).double() / len(b)
    entropy_a, entropy_b, both = (torch.special.entr(q).sum().item() for q in (p.sum(dim=1), p.sum(dim=0), p))
    return max(0.0, entropy_a + entropy_b - both) / entropy_b if entropy_b > 0 else 0.0


def mutual_information_gap(codes: Tensor, factors: dict[str, Tensor], bins: int = 10) -> float:
    """MIG (Chen et al., 2018, section 4): by how much the latent that says most of a factor says more than the second.

    The mean over factors, in [0, 1]: 1 if each factor has a latent to itself which says all of it, 0 if every factor is
    said by none, or by two alike. Takes and raises what `factor_information` does; there must be two latents.
    """
    if codes.ndim == 2 and codes.shape[1] < 2:
        raise ValueError("a gap needs two latents, got one")
    first, second = factor_information(codes, factors, bins).topk(2, dim=0).values
    return (first - second).mean().item()


def active_units(mu: Tensor, least: float = 0.01) -> int:
    """How many latents say anything: those whose mean mu (N, latents) has a variance over the images above `least`
    (Burda et al., 2016, section 5)."""
    if mu.ndim != 2 or len(mu) < 2:
        raise ValueError(f"mu must be (N, latents), two rows at least; got {tuple(mu.shape)}")
    return int((_finite(mu).var(dim=0) > least).sum())


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Share of the images whose label is the commonest one in their cluster; both (N,) int64, not negative.

    It is never below the commonest label's share, and 1 if each image is a cluster of its own: `by_chance` says what
    so many clusters of these sizes have anyway.
    """
    return (_together(clusters, labels).max(dim=1).values.sum() / len(labels)).item()


def nmi(clusters: Tensor, labels: Tensor) -> float:
    """Normalised mutual information of two partitions (N,) in [0, 1]: I(A; B) / sqrt(H(A) H(B)), as in DeepCluster
    (Caron et al., 2018, section 4.1). 0 if one of them has a single part. Many small clusters have some by chance."""
    p = _together(clusters, labels).double() / len(labels)
    rows, columns = p.sum(dim=1), p.sum(dim=0)
    mutual = (torch.xlogy(p, p).sum() - torch.xlogy(rows, rows).sum() - torch.xlogy(columns, columns).sum()).item()
    entropies = torch.xlogy(rows, rows).sum() * torch.xlogy(columns, columns).sum()
    return max(0.0, mutual) / math.sqrt(entropies) if entropies > 0 else 0.0


def information(codes: Tensor, labels: Tensor) -> Tensor:
    """Bits that each code says about its image's label: codes (N, L) and labels (N,), int64 from 0, to (K,).

    It is the divergence KL(labels of the patches with this code || labels of all); K is the highest code plus one, and
    what a code that no patch has says is 0. Weighted by the codes' shares it is the mutual information of one patch's
    code and the label, of which a few bits come by chance: `by_chance` says how many.
    """
    if codes.ndim != 2 or len(codes) != len(labels):
        raise ValueError(f"codes must be (N, L) and labels (N,), got {tuple(codes.shape)} and {_count(labels)}")
    together = _together(codes.flatten(), labels.repeat_interleave(codes.shape[1])).double()
    of_all = together.sum(dim=0) / together.sum()
    of_code = together / together.sum(dim=1, keepdim=True).clamp(min=1)
    return (torch.xlogy(of_code, of_code) - torch.xlogy(of_code, of_all)).sum(dim=1).float() / math.log(2)


def bits_of_a_patch(codes: Tensor, labels: Tensor) -> float:
    """Bits that one patch's code says about its image's label, in the mean: their mutual information."""
    shares = codes.flatten().bincount().cpu() / codes.numel()
    return (shares * information(codes, labels)).sum().item()


def bags(codes: Tensor, k: int) -> Tensor:
    """How large a part of each image has each code: (N, L) int64 to (N, k). Where the codes lie is lost."""
    return F.one_hot(codes, k).float().mean(dim=1)


def by_chance(
    measure: Callable[[Tensor, Tensor], float], clusters: Tensor, labels: Tensor, *, draws: int = 10, seed: int = 0
) -> float:
    """What `purity` or `nmi` is for clusters of the same sizes that know nothing: the mean over shuffled labels."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(labels), generator=generator).to(labels.device) for _ in range(draws)]
    return fmean(measure(clusters, labels[order]) for order in orders)


def _together(clusters: Tensor, labels: Tensor) -> Tensor:
    """How many images each cluster shares with each label, (clusters, labels)."""
    if clusters.ndim != 1 or clusters.shape != labels.shape or not len(labels):
        raise ValueError(f"clusters and labels must both be (N,), got {_count(clusters)} and {_count(labels)}")
    if min(clusters.min(), labels.min()) < 0:
        raise ValueError("a negative cluster or label means that there is none: leave these images out")
    k, classes = int(clusters.max()) + 1, int(labels.max()) + 1
    pairs = clusters.cpu() * classes + labels.cpu()
    return pairs.bincount(minlength=k * classes).view(k, classes)


def in_parts(images: ImageSet, parts: int = 8) -> dict[str, tuple[Tensor, list[str]]]:
    """What an image is, in parts that can be counted: {factor: (part of each image (N,) int64, names of the parts)}.

    The first is the class. A factor of the shapes is cut into parts of as many images each, the hue into equal ones.
    """
    found = {"class": (images.labels, list(images.classes))}
    for name, values in images.factors.items():
        edges = values.quantile(torch.linspace(0, 1, parts + 1, device=values.device))
        if name == "hue":
            edges = torch.linspace(0, 1, parts + 1, device=values.device)
        part = torch.bucketize(values.contiguous(), edges[1:-1].contiguous(), right=True)
        found[name] = part, [f"{low:.2f} to {high:.2f}" for low, high in zip(edges.tolist(), edges[1:].tolist())]
    return found


def few_labels(labels: Tensor, share: float, seed: int | None = None) -> Tensor:
    """Indices of a `share` of each class's images, at least one of each: the first, or drawn from `seed`.

    Images without a label (-1) are left out.
    """
    order = torch.arange(len(labels), device=labels.device)
    if seed is not None:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    known = labels[order]
    classes = [order[known == c] for c in labels.unique() if c >= 0]
    return torch.cat([rows[: max(1, round(share * len(rows)))] for rows in classes])


def report(features: nn.Module | Callable[[ImageSet], Tensor], train: ImageSet, test: ImageSet) -> dict[str, float]:
    """The questions that this book asks of every encoder, and the answers: accuracies in [0, 1].

    With few labels the answer depends on which ones: it is the mean over ten draws, and "± of 10 draws" their standard
    deviation. `protocol` says how many neighbours voted, and how many labels few are.

    Args:
        features: an encoder, which is frozen, or a function from an image set to features (N, D).
        train, test: image sets with the same classes, perhaps in another order; what has no label is left out.

    Raises:
        ValueError: the sets don't fit together, as `to_judge` says, or a feature is not finite.
    """
    train, test = to_judge(train, test)
    x, y = (embed(features, s) if isinstance(features, nn.Module) else features(s) for s in (train, test))
    labels, test_labels = train.labels.to(x.device), test.labels.to(y.device)
    draws = []
    for seed in range(DRAWS):
        few = few_labels(labels, 0.01, seed)
        draws.append(linear_evaluation(x[few], labels[few], y, test_labels))
    row = {
        "kNN": knn(x, labels, y, test_labels, k=neighbours(labels)),
        "linear": linear_evaluation(x, labels, y, test_labels),
        "linear, 1 % of labels": fmean(draws),
        f"± of {DRAWS} draws": stdev(draws),
    }
    if "hue" in train.factors:  # the shapes: what an augmentation made the encoder forget
        hue, test_hue = ((8 * s.factors["hue"]).long().to(x.device) for s in (train, test))
        row["linear, hue"] = linear_evaluation(x, hue, y, test_hue)
    return row


def protocol(train: ImageSet, test: ImageSet) -> dict[str, int]:
    """In numbers what `report` asks with these sets: k of the kNN, and how many labels train, are few, and test."""
    train, test = to_judge(train, test)
    few = len(few_labels(train.labels, 0.01))
    return {"k": neighbours(train.labels), "labels": len(train), "1 % of labels": few, "test labels": len(test)}


def partners_found(z: Tensor) -> float:
    """Share of the rows of z (2n, D), [view 1; view 2], whose most similar other row by cosine is their partner.

    It is the accuracy of the classification that InfoNCE trains; blind guessing has 1 / (2n - 1).
    """
    if len(z) % 2:
        raise ValueError(f"z are n first and n second views, an even number of rows; got {len(z)}")
    z = F.normalize(_finite(z), dim=1)
    similarity = (z @ z.T).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return (similarity.argmax(dim=1) == partner).float().mean().item()


def alignment(x: Tensor, y: Tensor, alpha: float = 2) -> Tensor:
    """How close two views of an image lie: mean ||x - y||^alpha over unit rows (Wang & Isola, 2020, section 4.1)."""
    return (x - y).norm(dim=1).pow(alpha).mean()


def uniformity(x: Tensor, t: float = 2) -> Tensor:
    """How evenly unit rows (N, D) fill the sphere: log mean exp(-t ||x_i - x_j||^2), i < j; 0 is collapse, lower is
    better (Wang & Isola, 2020, section 4.1)."""
    return torch.pdist(x).pow(2).mul(-t).exp().mean().log()


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """Effective rank of features (N, D), between 1 and min(N, D): exp of the entropy of the singular values
    (Garrido et al., 2023, equation 2; not centred). Of features that are all 0 it is 1."""
    s = torch.linalg.svdvals(_finite(features))
    p = s / s.sum().clamp(min=torch.finfo(s.dtype).tiny) + eps
    return torch.exp(-(p * p.log()).sum()).item()


def lidar(features: Tensor, delta: float = 1e-4) -> float:
    """How many directions tell images apart, once the changes between views count as noise: between 1 and D.

    The effective rank of linear discriminant analysis with each image as a class (LiDAR: Thilak et al., 2024, section
    4): exp of the entropy of the eigenvalues of S_w^(-1/2) S_b S_w^(-1/2), where S_b is the covariance of the images'
    means and S_w that of the views around them.

    Args:
        features: (n, q, D), of q >= 2 views of each of n >= 2 images. n should be above D, q about 10 or more.
        delta: > 0, added to the diagonal of S_w, which may have directions in which no view moves. The paper leaves
            its size open; what counts is S_w against it, so the scale of the features does.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise ValueError(f"features must be (n, q, D), n and q at least 2; got {tuple(features.shape)}")
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    x = _finite(features.flatten(0, 1)).double().view(features.shape)
    n, q, dim = x.shape
    means = x.mean(dim=1)
    apart, around = means - means.mean(dim=0), (x - means[:, None]).flatten(0, 1)
    S_w = around.T @ around / (n * (q - 1))
    values, vectors = torch.linalg.eigh(S_w + delta * torch.eye(dim, dtype=x.dtype, device=x.device))
    whitened = apart @ vectors / values.sqrt()
    spectrum = torch.linalg.svdvals(whitened).square()
    if not spectrum.sum() > 0:
        return 1.0
    return torch.special.entr(spectrum / spectrum.sum()).sum().exp().item()


def alpha_req(features: Tensor, first: int = 5, last: int = 50) -> float:
    """How fast the spectrum of features (N, D) falls: alpha of lambda_j ~ j^(-alpha), 0 if all directions are alike.

    A straight line through the logarithms of the covariance's eigenvalues from number `first` to `last` (alpha-ReQ:
    Agrawal et al., 2022, section 3). The paper finds the best encoders near alpha = 1: below it too much is noise,
    above it too little is left. The largest eigenvalues and those that are 0 but for rounding are left out.

    Raises ValueError if fewer than two eigenvalues lie between `first` and `last`.
    """
    x = _finite(features).double()
    spectrum = torch.linalg.svdvals(x - x.mean(dim=0)).square()
    spectrum = spectrum[spectrum > spectrum[0] * 1e-12][first - 1 : last] if spectrum[0] > 0 else spectrum[:0]
    if len(spectrum) < 2:
        raise ValueError(f"a slope needs two eigenvalues or more from number {first} to {last}, got {len(spectrum)}")
    j = torch.arange(first, first + len(spectrum), dtype=x.dtype, device=x.device).log()
    values = spectrum.log() - spectrum.log().mean()
    return (-(j - j.mean()) @ values / (j - j.mean()).square().sum()).item()


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of the ranks of two rows of n numbers: 1 if both put everything in the same order.

    Equal numbers share the mean of their ranks. NaN if all numbers of a row are equal. Raises ValueError if the rows
    are not equally long, with two numbers or more.
    """
    if len(one) != len(other) or len(one) < 2:
        raise ValueError(f"two rows of n >= 2 numbers, got {len(one)} and {len(other)}")
    rows = torch.tensor([list(one), list(other)], dtype=torch.float64)[:, :, None]
    ranks = (rows > rows.mT).sum(dim=2) + (rows >= rows.mT).sum(dim=2)  # twice the rank, and one more
    return torch.corrcoef(ranks.double())[0, 1].item()


def spread(features: Tensor) -> float:
    """Standard deviation of unit features over the batch times sqrt(D): about 1 spread over the sphere, 0 collapsed
    (SimSiam, section 4.1)."""
    features = _finite(features)
    return (F.normalize(features, dim=1).std(dim=0).mean() * features.shape[1] ** 0.5).item()


def prototypes_used(assignments: Tensor) -> float:
    """How many prototypes are in use: exp of the entropy of the mean assignment, between 1 and K.

    Args:
        assignments: (N, K), not negative, rows that sum to 1: how much of each image belongs to each prototype. Of
            scores it is their softmax. At 1 all images have the same prototype: a collapse.

    Raises:
        ValueError: assignments are of another shape, not finite, negative, or their rows don't sum to 1.
    """
    return torch.special.entr(_assigned(assignments).mean(dim=0)).sum().exp().item()


def assignment_sharpness(assignments: Tensor) -> float:
    """Among how many prototypes an image is shared: the mean over images of exp of the entropy, between 1 and K.

    Low is sharp. At 1 each image has a prototype of its own choice; at K all are shared alike and say nothing, which is
    a collapse too, and `prototypes_used` does not see it. Takes and raises what `prototypes_used` does.
    """
    return torch.special.entr(_assigned(assignments)).sum(dim=1).exp().mean().item()


def _assigned(assignments: Tensor) -> Tensor:
    if assignments.ndim != 2 or not len(assignments):
        raise ValueError(f"assignments must be (N, K), at least one row; got {tuple(assignments.shape)}")
    q = _finite(assignments)
    if q.min() < 0 or (q.sum(dim=1) - 1).abs().max() > 1e-2:
        raise ValueError("assignments must not be negative, and each row must sum to 1: take the softmax of scores")
    return q


def iou(found: Tensor, truth: Tensor) -> float:
    """Intersection over union of two masks, bool (n, H, W), as a mean over the images: 1 if they are equal, 0 if apart.

    Two empty masks are equal. Raises ValueError if they are not of one shape, or not bool.
    """
    if found.shape != truth.shape or found.ndim != 3 or (found.dtype, truth.dtype) != (torch.bool, torch.bool):
        raise ValueError(f"masks must both be bool (n, H, W), got {tuple(found.shape)} and {tuple(truth.shape)}")
    both, either = (x.flatten(1).sum(dim=1) for x in (found & truth, found | truth))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean().item()


def attended(attention: Tensor, share: float = 0.6) -> Tensor:
    """The patches that get most attention, as few as have `share` of it together: (..., H, W) to bool of that shape.

    DINO's own way from attention to a mask (Caron et al., 2021, figure 4).
    """
    flat = attention.flatten(-2)
    values, order = flat.sort(dim=-1, descending=True)
    before = values.cumsum(dim=-1) - values  # of those with more
    kept = before < share * values.sum(dim=-1, keepdim=True)
    return torch.zeros_like(kept).scatter(-1, order, kept).unflatten(-1, attention.shape[-2:])
