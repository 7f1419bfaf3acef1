"""Losses as pure functions on tensors; the symbols are the papers'."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbook.distributed import all_gather, all_reduce_mean, world_size


def full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute in float32 inside autocast too.

    bfloat16 knows no number between 0.992 and 0.996, and a temperature of 0.1 makes that a step of
    0.04 in a logit.
    """

    @functools.wraps(loss)
    def computed(*args, **options) -> Tensor:
        args = [_whole(x) for x in args]
        options = {name: _whole(x) for name, x in options.items()}
        tensors = [x for x in (*args, *options.values()) if isinstance(x, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return loss(*args, **options)

    return computed


def _whole(x: object) -> object:
    half = isinstance(x, Tensor) and x.dtype in (torch.float16, torch.bfloat16)
    return x.float() if half else x


@full_precision
def info_nce_loss(features: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent, the InfoNCE loss of SimCLR (Chen et al., 2020, equation 1).

    Every row must find its partner among the 2N - 1 other rows: minus the log of their softmax, of
    the cosine with the partner divided by the temperature, averaged over the 2N rows.

    Args:
        features: (2N, D) floats, `[view1; view2]`: rows i and i + N come from the same image.
            Normalised in here.
        temperature: tau > 0. Small values attend to the hardest negatives only.

    Returns:
        A scalar. If all rows are alike it is ln(2N - 1), so a loss that "stops falling" near that
        has learnt nothing.

    Raises:
        ValueError: if there are not 2N rows, or the temperature is not positive.
    """
    if features.ndim != 2 or len(features) % 2 or len(features) < 2:
        raise ValueError(f"features must be (2N, D), [view1; view2]; got {tuple(features.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    z = F.normalize(features, dim=1)
    similarity = z @ z.T / temperature  # (2N, 2N)
    similarity.fill_diagonal_(-torch.inf)  # a row is not its own negative
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(similarity, partner)


@full_precision
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """D(p, z) = -cos(p, z), averaged over the rows (SimSiam: Chen & He, 2021, equation 1).

    Args:
        p: (N, D) floats, the predictions. Normalised in here.
        z: (N, D) floats, what they should have said. A gradient flows here too: the method decides
            to stop it.

    Returns:
        A scalar in [-1, 1]; -1 if every prediction is right, as also in a collapsed network.

    Raises:
        ValueError: if p and z are not two (N, D) tensors of one shape.
    """
    if p.ndim != 2 or p.shape != z.shape:
        raise ValueError(f"p and z must both be (N, D), got {tuple(p.shape)} and {tuple(z.shape)}")
    return -F.cosine_similarity(p, z, dim=1).mean()


def byol_loss(p: Tensor, z: Tensor) -> Tensor:
    """2 - 2 cos(p, z), averaged over the rows: the squared distance of unit vectors (BYOL, eq. 2).

    One direction only; BYOL adds the other (Grill et al., 2020, section 3.1). Arguments and errors
    are those of `negative_cosine`; the scalar lies in [0, 4].
    """
    return 2 + 2 * negative_cosine(p, z)


@full_precision
def masked_error(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the hidden patches only (MAE: He et al., 2022, section 3).

    Args:
        pred, target: (n, L, D) floats.
        mask: (n, L) bool, True = hidden.
    """
    return ((pred - target).square().mean(dim=2) * mask).sum() / mask.sum()


@torch.no_grad()
def r_squared(pred: Tensor, target: Tensor, mean: Tensor) -> Tensor:
    """1 - the error of `pred` / the error of `mean`, a guess without looking; all of one shape.

    1 is a perfect prediction, 0 one that is no better than the guess; it has no lower limit. Over
    the joined batch. Where the guess has no error, as all targets are alike, it is 0.
    """
    error, guess = (all_reduce_mean((x - target).square().mean()) for x in (pred, mean))
    return torch.where(guess > 0, 1 - error / guess, torch.zeros_like(guess))


def at(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (n, L, D) at the places (n, M, T): (n, M, T, D)."""
    return x.take_along_dim(places.flatten(1)[:, :, None], dim=1).unflatten(1, places.shape[1:])


@full_precision
def latent_loss(s: Tensor, h: Tensor, places: Tensor) -> dict[str, Tensor]:
    """Smooth L1 of predictions s (n, M, T, D) against h (n, L, D) at the places (n, M, T).

    With it, detached, what the loss alone does not say: `R2`, the share of the targets' variance
    over the images that is predicted, and `std`, the deviation that they have at all.
    """
    target = at(h, places)
    mean = all_reduce_mean(h.mean(dim=0))
    variance = all_reduce_mean((h - mean).square().mean())
    R2 = r_squared(s, target, at(mean[None].expand_as(h), places))
    return {"loss": F.smooth_l1_loss(s, target), "R2": R2, "std": variance.sqrt()}


@full_precision
def cosine_scores(z: Tensor, centroids: Tensor) -> Tensor:
    """Cosine of each row with each centroid: z (n, D) and unit rows (k, D) to (n, k) in [-1, 1]."""
    return F.normalize(z, dim=1) @ centroids.T


@full_precision
@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Codes Q: assignments near the scores that use all prototypes alike (SwAV, equations 3 to 5).

    Sinkhorn-Knopp on exp(scores / epsilon), in logarithms, so that no epsilon is too small. In each
    iteration the prototypes come first: each gets as much of the batch as any other. Then each
    image's assignment is made to sum to 1.

    Args:
        scores: (B, K) floats, z^T C. What counts is the batch of all processes.
        epsilon: > 0, the weight of the entropy. Large: every image belongs to all prototypes alike.
        iterations: 0 is a plain softmax, which keeps nothing in balance.

    Returns:
        (B, K), rows sum to 1, columns to about B / K; B times Q of the paper. Without a gradient.
    """
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores must be (B, K), at least one row; got {tuple(scores.shape)}")
    if not epsilon > 0 or iterations < 0:
        raise ValueError(f"epsilon > 0 and iterations >= 0, got epsilon={epsilon}, iterations={iterations}")
    log_Q = scores / epsilon
    for _ in range(iterations):
        of_each_process = all_gather(log_Q.logsumexp(dim=0, keepdim=True))
        log_Q = log_Q - of_each_process.logsumexp(dim=0)
        log_Q = log_Q.log_softmax(dim=1)
    return log_Q.softmax(dim=1)


@full_precision
def swapped_prediction(scores: Tensor, codes: Tensor, T: float = 0.1) -> Tensor:
    """Predict each code from every other view (SwAV, equations 1, 2 and 6; DINO, equation 3).

    Args:
        scores: (V, B, K), of V views. The first views are those that the codes were made of.
        codes: (A, B, K), A <= V, rows sum to 1.
        T: temperature > 0 of the prediction, softmax(scores / T).

    Returns:
        The mean cross-entropy over the codes, and for each over the V - 1 other views: a scalar,
        ln K if all is uniform.
    """
    log_p = (scores / T).log_softmax(dim=2)
    cross_entropy = -torch.einsum("abk,vbk->av", codes, log_p) / scores.shape[1]
    itself = torch.eye(len(codes), len(scores), dtype=torch.bool, device=scores.device)
    return cross_entropy.masked_fill(itself, 0).sum() / (len(codes) * (len(scores) - 1))


@full_precision
def pseudo_label_loss(scores: Tensor, labels: Tensor, temperature: float = 0.1) -> dict[str, Tensor]:
    """Classify each row as the cluster it was put into (DeepCluster, section 3.2, equation 1).

    Args:
        scores: (n, k) floats, what each cluster says to each row.
        labels: (n,) int64 in [0, k); -100 where there is none, such rows do not count.
        temperature: > 0, by which the scores are divided.

    Returns:
        "loss", the cross-entropy, a scalar >= 0, ln k for scores that are all alike; and without a
        gradient "accuracy" in [0, 1], on the pseudo-labels: 1 says nothing of real classes.

    Raises:
        ValueError: if scores and labels do not fit, or the temperature is not positive.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        shapes = f"{tuple(scores.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"scores must be (n, k) and labels (n,), got {shapes}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    known = labels != -100
    right = (scores.argmax(dim=1) == labels) & known
    loss = F.cross_entropy(scores / temperature, labels, ignore_index=-100)
    return {"loss": loss, "accuracy": right.sum() / known.sum().clamp(min=1)}


@full_precision
def dino_loss(student: Tensor, P_t: Tensor, T_s: float = 0.1) -> dict[str, Tensor]:
    """The student says of each view what the teacher said of another (Caron et al., 2021, eq. 3).

    Args:
        student: (V, n, K) floats, g_s of V views; the first two are those that the teacher saw.
        P_t: (2, n, K), the teacher's distributions: rows that sum to 1. No gradient flows there.
        T_s: the student's temperature > 0.

    Returns:
        "loss", the cross-entropy H(P_t, P_s), a mean over the 2 V - 2 pairs of unlike views; and
        without a gradient its parts: "entropy", that of P_t, and "KL", from P_t to P_s. ln K if
        both know nothing. Entropy near ln K or 0 is one of the two collapses, with a KL near 0.
    """
    if student.ndim != 3 or P_t.shape != (2, *student.shape[1:]) or len(student) < 2:
        shapes = f"{tuple(student.shape)} and {tuple(P_t.shape)}"
        raise ValueError(f"student and P_t must be (V, n, K), V >= 2, and (2, n, K); got {shapes}")
    P_t = P_t.detach()
    loss = swapped_prediction(student, P_t, T_s)
    entropy = torch.special.entr(P_t).sum(dim=2).mean()
    return {"loss": loss, "entropy": entropy, "KL": (loss - entropy).detach()}


@full_precision
def epps_pulley(x: Tensor, t_max: float = 5.0, knots: int = 17) -> Tensor:
    """How far each column is from a standard Gaussian (LeJEPA: Balestriero & LeCun, 2025, section 4.2.3).

    The test of Epps and Pulley (1983) compares characteristic functions. That of a sample is the mean of exp(i t x)
    over it, that of the Gaussian is exp(-t^2 / 2). The statistic is N times the integral over t of the squared
    distance of the two, with the weight exp(-t^2 / 2). What is summed is even in t: t >= 0 is computed, and counts
    twice. The batch is that of all processes.

    Args:
        x: (n, M) floats, a sample of n numbers in each column.
        t_max: the integral goes from -t_max to t_max.
        knots: of the trapezoid rule, odd. They are `2 t_max / (knots - 1)` apart, and what lies 2 pi / that away from
            0, about 10 by default, looks to them as if it were 0.

    Returns:
        (M,), each >= 0. A Gaussian sample has about 1.06, whatever n; n numbers that are all 0 have .41 n.

    Raises:
        ValueError: if x is not (n, M) with n >= 1, t_max is not positive, or knots is no odd number from 3 on.
    """
    if x.ndim != 2 or not len(x):
        raise ValueError(f"x must be (n, M), a sample in each column; got {tuple(x.shape)}")
    if not t_max > 0 or knots < 3 or knots % 2 == 0:
        raise ValueError(f"t_max > 0 and an odd number of knots from 3 on, got t_max={t_max}, knots={knots}")
    t = torch.linspace(0, t_max, knots // 2 + 1, dtype=x.dtype, device=x.device)
    gaussian = torch.exp(-t.square() / 2)
    tx = x[:, :, None] * t  # (n, M, T)
    of_sample = torch.stack([tx.cos().mean(dim=0), tx.sin().mean(dim=0)])  # real and imaginary part
    real, imaginary = all_reduce_mean(of_sample)
    distance = (real - gaussian).square() + imaginary.square()
    n = len(x) * world_size()
    return 2 * n * torch.trapezoid(distance * gaussian, t, dim=1)
