"""The patients of the collapse lab: what is removed is gone, what is not is as the recipe says."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sslbook import evaluate
from sslbook.budget import BUDGETS
from sslbook.encoders import ConvNet
from sslbook.patients import BATCH_NORMS, PATIENTS, Standardised, group_norm, options, remove, to_z
from sslbook.pretrain import pretrain

PLAN = replace(BUDGETS["cpu"], train=64, test=32)
each_patient = pytest.mark.parametrize("name, part", [(name, part) for name in PATIENTS for part in PATIENTS[name]])


def norms(method, kinds):
    return sum(isinstance(layer, kinds) for layer in method.modules())


@each_patient
def test_each_patient_trains_and_has_a_z_to_look_at(name, part):
    train, test = PLAN.load()
    method = remove(PLAN, name, part)
    before = [p.detach().clone() for p in method.encoder.parameters()]
    settings = options(PLAN, name, part) | dict(epochs=1, batch_size=32)
    pretrain(method, train, show_progress=False, **settings)
    assert any(not torch.equal(p, old) for p, old in zip(method.encoder.parameters(), before))
    assert evaluate.embed_batch(to_z(method), test).isfinite().all()


def test_batch_norm_goes_where_it_is_said_to_go():
    whole = remove(PLAN, "BYOL")
    without = remove(PLAN, "BYOL", "batch norm in the heads")
    assert norms(whole, nn.BatchNorm1d) and not norms(without, nn.BatchNorm1d)
    assert norms(without, nn.BatchNorm2d) == norms(whole, nn.BatchNorm2d)
    blind = remove(PLAN, "BYOL", "batch statistics")
    assert not norms(blind, BATCH_NORMS)
    assert norms(blind, nn.GroupNorm) == norms(whole, BATCH_NORMS), "the target's too"


def test_without_batch_statistics_an_image_never_knows_its_neighbours():
    method = remove(PLAN, "SimSiam", "batch statistics").train()
    images = torch.rand(8, 3, 24, 24)
    together, alone = method.project(images), torch.cat([method.project(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_weights_are_standardised_row_by_row():
    weight = Standardised()(torch.randn(5, 3, 3, 3)).flatten(1)
    assert weight.mean(dim=1).abs().max() < 1e-6
    assert torch.allclose(weight.square().sum(dim=1), torch.ones(5))
    assert group_norm(nn.BatchNorm2d(24)).num_groups == 8


def test_what_cannot_be_removed_is_said():
    with pytest.raises(ValueError, match="from SimCLR can be removed: negatives, batch norm in the heads; got 'soul'"):
        remove(PLAN, "SimCLR", "soul")


def test_the_weight_decay_is_all_that_goes_with_it():
    whole, without = options(PLAN, "SimSiam"), options(PLAN, "SimSiam", "weight decay")
    assert without["weight_decay"] == 0 < whole["weight_decay"]
    assert {k: v for k, v in whole.items() if k != "weight_decay"} == {
        k: v for k, v in without.items() if k != "weight_decay"
    }


def test_an_untrained_network_is_not_collapsed_in_the_mode_of_the_loss():
    _, test = replace(PLAN, test=256).load()
    f = to_z(remove(PLAN, "SimSiam"))
    before = {name: x.clone() for name, x in f.state_dict().items()}
    assert evaluate.spread(evaluate.embed_batch(f, test)) > 0.9 > 0.3 > evaluate.spread(evaluate.embed(f, test))
    assert all(torch.equal(x, before[name]) for name, x in f.state_dict().items()), "looking changed the network"


def test_embed_batch_takes_the_batchs_own_statistics():
    network = nn.Sequential(ConvNet(), nn.BatchNorm1d(ConvNet().features_dim, affine=False))
    z = evaluate.embed_batch(network, torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8))
    assert z.mean(dim=0).abs().max() < 1e-4 and network.training
