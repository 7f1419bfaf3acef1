"""Encoders trained with labels, through the one loop: from scratch as the yardstick, or after pre-training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sslbook.evaluate import embed, few_labels, to_judge
from sslbook.images import ImageSet
from sslbook.methods.supervised import Supervised
from sslbook.pretrain import pretrain
from sslbook.views import Augmentation

ADAMW = dict(optimizer="adamw", lr=3e-3, weight_decay=1e-2)
WARMUP = 0.3  # of the epochs: a small ViT trained from scratch on a tenth of the labels needs so long


def supervised(
    encoder: nn.Module,
    train: ImageSet,
    *,
    epochs: int,
    view: Augmentation,
    batch_size: int = 256,
    seed: int = 0,
    **options: Any,
) -> nn.Linear:
    """Train an encoder and a linear classifier on labels, in place.

    Args:
        encoder: trained in place, on the device where it lies.
        train: images that all have a label.
        view: what is shown of each image.
        seed: decides the classifier's first weights, batches and views.
        options: of `pretrain`: lr, callbacks (checkpoints), show_progress, ... The defaults here are AdamW at rate 3e-3
            with weight decay 1e-2, and a warm-up of three tenths of the epochs.

    Returns:
        The classifier: from features to scores of the classes.

    Raises:
        ValueError: images without a label, one class only, fewer images than a batch.
    """
    device = next(encoder.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = Supervised(encoder, train.labels).to(device)
    options = ADAMW | dict(warmup_epochs=WARMUP * epochs) | options
    pretrain(method, train, epochs=epochs, batch_size=batch_size, views=[view], seed=seed, **options)
    return method.classifier


def fine_tune(
    encoder: nn.Module,
    train: ImageSet,
    test: ImageSet,
    *,
    epochs: float,
    view: Augmentation,
    share: float = 1.0,
    seed: int | None = None,
    batch_size: int = 128,
    **options: Any,
) -> float:
    """Test accuracy in [0, 1] of a copy of the encoder after `supervised` training on some labels.

    Args:
        encoder: left as it is.
        train, test: image sets with the same classes, perhaps in another order; what has no label is left out.
        share: of each class's images; the fewer, the more epochs, so that the number of steps stays.
        seed: decides which labels are known, and the training; None takes the first of each class.
        options: of `supervised`. A learning rate below that of a training from scratch keeps what was learnt.

    Raises:
        ValueError: the sets don't fit together, as `evaluate.to_judge` says.
    """
    train, test = to_judge(train, test)
    few = train[few_labels(train.labels, share, seed)]
    tuned = copy.deepcopy(encoder)
    epochs, batch_size = max(1, round(epochs / share)), min(batch_size, len(few))
    options |= dict(batch_size=batch_size, seed=seed or 0)
    classifier = supervised(tuned, few, epochs=epochs, view=view, **options)
    with torch.no_grad():
        scores = classifier(embed(tuned, test))
    return (scores.argmax(dim=1) == test.labels.to(scores.device)).float().mean().item()
