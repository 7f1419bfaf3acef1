from dataclasses import replace

import pytest
import torch

from sslbook import budget
from sslbook.encoders import ENCODERS
from sslbook.methods import METHODS, Method, SimCLR
from sslbook.vit import ViT


@pytest.mark.parametrize("name", budget.BUDGETS)
def test_the_environment_names_the_budget(name, monkeypatch):
    monkeypatch.setenv("SSLBOOK_BUDGET", name)
    assert budget.current().name == name


@pytest.mark.parametrize(("cuda", "name"), [(True, "gpu"), (False, "cpu")])
def test_without_a_name_the_hardware_decides(cuda, name, monkeypatch):
    monkeypatch.delenv("SSLBOOK_BUDGET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert budget.current().name == name


def test_a_name_that_is_none_lists_the_names(monkeypatch):
    monkeypatch.setenv("SSLBOOK_BUDGET", "large")
    with pytest.raises(ValueError, match="one of smoke, cpu, cifar10-cpu, gpu; got 'large'"):
        budget.current()


def test_an_encoder_s_seed_is_its_own():
    plan = budget.BUDGETS["smoke"]
    before = torch.manual_seed(3).get_state()
    one, two, other = plan.encoder(), plan.encoder(), plan.encoder(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0][0].weight, two[0][0].weight) and not torch.equal(one[0][0].weight, other[0][0].weight)


def test_images_views_and_encoder_fit_together():
    plan = budget.BUDGETS["smoke"]
    train, test = plan.load()
    assert (len(train), len(test)) == (plan.train, plan.test)
    method = SimCLR(plan.encoder())
    generator = torch.Generator().manual_seed(0)
    loss = method.loss([view(train.images[:8], generator) for view in plan.views])
    assert loss.isfinite()


def test_recipes_fill_in_the_budget():
    plan = budget.BUDGETS["cpu"]
    recipe = plan.recipe("MoCo")
    assert recipe.method["symmetric"] and recipe.train["optimizer"] == "sgd"
    assert (recipe.train["epochs"], recipe.train["batch_size"], recipe.train["views"]) == (30, 128, plan.views)
    assert plan.recipe("SimCLR").train["epochs"] == 40
    assert budget.BUDGETS["smoke"].recipe("MoCo").train["epochs"] == 2
    with pytest.raises(ValueError, match=r"the cpu budget has recipes for SimCLR, MoCo.*got 'Other'"):
        plan.recipe("Other")


@pytest.mark.parametrize("name", budget.BUDGETS)
def test_every_recipe_makes_a_method(name):
    plan = replace(budget.BUDGETS[name], device="cpu")
    for method, entry in METHODS.items():
        if plan.recipes not in entry.recipes:
            assert entry.reads == "text" and plan.sentences is None
            continue
        made = entry.method(plan.encoder_for(method), **plan.recipe(method).method)
        assert isinstance(made, Method)


def test_an_encoder_that_no_budget_has_is_refused():
    assert set(budget.BUDGETS["gpu"].encoders.values()) <= set(ENCODERS)
    with pytest.raises(ValueError, match="the smoke budget has encoders of the kinds convnet, vit, text; got 'tree'"):
        budget.BUDGETS["smoke"].encoder("tree")


def test_methods_that_hide_patches_get_a_vit():
    plan = budget.BUDGETS["smoke"]
    assert isinstance(plan.encoder_for("MAE"), ViT) and not isinstance(plan.encoder_for("SimCLR"), ViT)
    assert torch.equal(plan.encoder_for("MAE", seed=1).cls_token, plan.encoder("vit", seed=1).cls_token)
    with pytest.raises(ValueError, match="got 'Other'"):
        plan.encoder_for("Other")
