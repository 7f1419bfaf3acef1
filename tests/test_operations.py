"""The study of operations takes away what it says, and nothing else."""

import importlib.util
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sslbook.budget import BUDGETS

PATH = Path(__file__).parents[1] / "experiments/operations.py"
SPEC = importlib.util.spec_from_file_location("operations", PATH)
study = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(study)
PLAN = replace(BUDGETS["cpu"], train=256, test=64)


@pytest.mark.parametrize("operation", study.OPERATIONS)
def test_a_run_goes_without_one_operation(operation):
    for view, whole in zip(study.views_of(PLAN, f"without {operation}"), PLAN.views):
        changed = {name for name, value in asdict(view).items() if value != asdict(whole)[name]}
        assert changed == study.OPERATIONS[operation].keys(), "the recipe has it, and the run has not"


def test_without_crops_a_view_shows_the_whole_picture():
    view = study.views_of(PLAN, "without crop")[0]
    box = view.sample(64, 32, 32, torch.Generator().manual_seed(0)).box
    assert box.unique(dim=0).tolist() == [[0, 0, 32, 32]]


def test_only_the_projector_changes_with_the_projector():
    whole, linear, none = (study.make(PLAN, run, seed=1) for run in ("complete", *study.RUNS[-2:]))
    assert study.views_of(PLAN, study.RUNS[-1]) == PLAN.views
    for other in (linear, none):
        assert all(torch.equal(p, q) for p, q in zip(whole.encoder.parameters(), other.encoder.parameters()))
    kinds = [sum(isinstance(m, nn.Linear) for m in method.projector.modules()) for method in (whole, linear, none)]
    assert kinds == [2, 1, 0]
    assert linear.projector[-1].num_features == whole.projector[-1].num_features


def test_each_row_has_the_same_questions():
    rows = [study.row_of(PLAN, run, seed=0, epochs=1) for run in ("untrained", "without flip", "projector: none")]
    for row in rows:
        assert row.keys() == rows[0].keys()
        assert row["h"].keys() == row["z"].keys() == rows[0]["h"].keys()
        assert row["h"]["factors"].keys() == {"hue", "scale", "turn", "x", "y", "background"}
    untrained, trained, bare = rows
    assert untrained["loss"] == [] and len(trained["loss"]) == 1
    assert bare["h"] == bare["z"], "without a projector there is one place"
