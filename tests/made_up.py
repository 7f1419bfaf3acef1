"""What tests share: noise, methods that nobody published, each for one part of the loop, a stop, and equal states."""

import math

import torch
from torch import nn

from sslbook.callbacks import Callback
from sslbook.encoders import ConvNet
from sslbook.methods import Method
from sslbook.optim import parameter_groups
from sslbook.text import TextEncoder
from sslbook.views import cifar_views, shapes_views


def pictures(n=2, seed=1, size=16):
    """(n, 3, size, size) of noise in [0, 1], the same for the same seed."""
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def random_pair(n, dim, seed=0):
    """Two tables (n, dim) of normal numbers in float64, that have nothing to do with each other."""
    return torch.randn(2, n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).unbind()


def batch_of(data, n):
    """The first n examples of a set of images or of texts, as a batch."""
    (batch,) = data.batches([torch.arange(n)])
    return batch


def cheap_views(method, views=shapes_views):
    """Views as many as a method takes: quick ones for images, its own for texts."""
    if isinstance(method.encoder, TextEncoder):
        return method.views(method.encoder.length)
    return views()[: len(method.views(32))]


def assert_equal_states(one, two):
    one, two = one.state_dict(), two.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


class StopsAt(Callback):
    """Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def after_step(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


class MadeUp(Method):
    """Its features shall be small: the simplest loss that trains an encoder."""

    views = staticmethod(cifar_views)

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        super().__init__(ConvNet(width=2))

    def loss(self, views):
        return self.encoder(views[0]).square().mean()


class TwoTurns(MadeUp):
    """A critic tells two views apart, then the encoder makes that harder. Each has an optimiser of its own."""

    turns = ("critic", "encoder")

    def __init__(self, seed=0):
        super().__init__(seed)
        self.critic = nn.Linear(self.encoder.features_dim, 1)

    def loss(self, views):
        one, two = (self.critic(self.encoder(view)).sigmoid().mean() for view in views)
        if self.now.turn == "critic":
            return {"loss": one - two, "gap": (one - two).abs()}
        return {"loss": two - one}

    def parameter_groups(self, weight_decay):
        groups = []
        for turn in self.turns:
            groups += [dict(group, turn=turn) for group in parameter_groups(getattr(self, turn), weight_decay)]
        return groups


class Terms(MadeUp):
    """A loss of two terms, which the history shall show."""

    def loss(self, views):
        size, shift = super().loss(views), self.encoder(views[1]).mean().abs()
        return {"loss": size + 2 * shift, "size": size, "shift": shift}


class Counting(MadeUp):
    """Counts its epochs in a buffer, and notes when `before_epoch` was called."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))
        self.calls = []

    def before_epoch(self, data):
        self.epochs += 1
        self.calls.append((self.now.epoch, self.now.progress, len(data)))


class FrozenAtFirst(MadeUp):
    """Its last layer gets no gradient in the first epoch, as the prototypes of SwAV and DINO."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.prototypes = nn.Linear(self.encoder.features_dim, 4, bias=False)
        self.moved = []

    def loss(self, views):
        self.before = self.prototypes.weight.detach().clone()
        return self.prototypes(self.encoder(views[0])).square().mean()

    def before_step(self):
        if self.now.epoch == 0:
            self.prototypes.weight.grad = None

    def after_step(self, progress):
        self.moved.append(not torch.equal(self.prototypes.weight, self.before))


class Decays(MadeUp):
    """Weight decay of one group goes elsewhere, another's stays."""

    def parameter_groups(self, weight_decay):
        decayed, plain = parameter_groups(self, weight_decay)
        return [dict(decayed, weight_decay_end=10 * weight_decay), plain]


class Breaks(MadeUp):
    """Its loss is NaN from a certain step on, or its weights are though the loss is not."""

    def __init__(self, at, weights=False):
        super().__init__()
        self.at, self.weights, self.steps = at, weights, 0

    def loss(self, views):
        self.steps += 1
        loss = super().loss(views)
        return loss * math.nan if self.steps > self.at and not self.weights else loss

    def after_step(self, progress):
        if self.weights and self.steps == self.at:
            next(self.parameters()).data.fill_(math.nan)


class TooLarge(MadeUp):
    """Asks for more memory than there is, or fails in another way."""

    error = None

    def loss(self, views):
        raise self.error if self.error else torch.empty(1 << 60)
