"""Training with labels, as one more method: the yardstick, and fine-tuning after pre-training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.encoders import features_dim
from sslbook.methods.base import Method
from sslbook.views import crop_views


class Supervised(Method):
    """An encoder and a linear classifier, trained on labels with cross-entropy.

    Args:
        encoder: trained too.
        labels: (N,) int64 in [0, classes), of all images that `pretrain` is given, in their order.

    Raises:
        ValueError: a label is negative (not labelled), or all are the same.
    """

    views = staticmethod(crop_views)

    def __init__(self, encoder: nn.Module, labels: Tensor):
        if len(labels) == 0 or labels.min() < 0:
            raise ValueError("every image needs a label; leave those with label -1 out")
        classes = int(labels.max()) + 1
        if classes < 2:
            raise ValueError("there is one class only: nothing to tell apart")
        super().__init__(encoder)
        self.classifier = nn.Linear(features_dim(encoder), classes)
        self.register_buffer("labels", labels.clone(), persistent=False)

    def loss(self, views: list[Tensor]) -> Tensor:
        """The cross-entropy, averaged over the views."""
        rows = self.now.rows
        if rows is None:
            raise ValueError("which images are these? Inside `pretrain` the loop says so")
        labels = self.labels[rows.to(self.labels.device, non_blocking=True)]
        scores = [self.classifier(self.encoder(view)) for view in views]
        return torch.stack([F.cross_entropy(s.float(), labels) for s in scores]).mean()
