import pytest
import torch
from made_up import pictures

from sslbook import views
from sslbook.encoders import ConvNet
from sslbook.losses import info_nce_loss
from sslbook.methods import SimCLR


def tiny(**options):
    torch.manual_seed(0)
    return SimCLR(ConvNet(width=2), **{"dim": 8, **options})


def test_the_loss_is_info_nce_of_all_projections():
    method = tiny(temperature=0.3)
    x, y = pictures(6, 1), pictures(6, 2)
    z = method.project(torch.cat([x, y]))
    assert z.shape == (12, 8)
    assert method.loss([x, y]).item() == pytest.approx(info_nce_loss(z, 0.3).item(), abs=1e-6)


def test_the_projector_is_the_official_one():
    """Linear, norm, ReLU, linear, and a norm that has neither scale nor shift."""
    head = tiny(hidden=32).projector
    assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert head[0].weight.shape == (32, 16) and head[1].affine and not head[4].affine


def test_every_parameter_learns():
    method = tiny()
    method.loss([pictures(6, 1), pictures(6, 2)]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_its_views_are_the_paper_s():
    assert list(SimCLR.views(224)) == list(views.simclr_views(224))
