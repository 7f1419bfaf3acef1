"""The studies: one operation is taken away at a time and nothing else; rivals for labels take equally many steps."""

from dataclasses import asdict, replace
from importlib import import_module

import pytest
import torch
from torch import nn

from sslbook import evaluate
from sslbook.budget import BUDGETS

study, premise = import_module("operations"), import_module("labels")
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


@pytest.mark.parametrize("budget", premise.SIZES)
def test_every_number_of_labels_gets_as_many_steps(budget):
    for n in premise.SIZES[budget]:
        in_an_epoch = n // min(n, 64)
        steps = in_an_epoch * premise.epochs_of(premise.STEPS[budget], n, min(n, 64))
        assert abs(steps - premise.STEPS[budget]) <= in_an_epoch / 2, (n, steps)


def test_a_number_of_labels_is_that_of_the_drawn_pictures():
    labels = PLAN.load()[0].labels.new_tensor(range(10)).repeat(5000)  # as CIFAR-10's
    for n in premise.SIZES["cifar10-cpu"]:
        assert len(evaluate.few_labels(labels, n / len(labels), seed=1)) == n
    train, _ = BUDGETS["cpu"].load()
    for n in premise.SIZES["cpu"]:
        assert abs(len(evaluate.few_labels(train.labels, n / len(train), seed=1)) - n) <= n / 20


def test_what_a_line_knows_of_an_eigenfunction_is_asked_of_other_views():
    """The fit leaves what `evaluate.explained` says; places and pixels of a view come from the same draws."""
    graphs = import_module("graph")
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 5, generator=generator), torch.randn(100, 5, generator=generator)
    mix = torch.randn(5, 1, generator=generator)
    known, asked = (f @ mix + torch.randn(len(f), 1, generator=generator) for f in (x, y))
    left = asked - evaluate.linear_fit(x, known.double(), y)
    share = 1 - left.square().mean() / asked.var(correction=0)
    assert share.item() == pytest.approx(evaluate.explained(x, known, y, asked), abs=1e-6)

    viewed = graphs.Viewed(PLAN.load()[1], PLAN, 2, seed=0)
    assert viewed.pixels.shape == (2, 64, 3, 24, 24) and viewed.places.shape == (2, 64, 3)
    assert viewed.labels.tolist() == 2 * PLAN.load()[1].labels.tolist()


def test_a_row_of_the_graph_study_has_both_places_and_the_course():
    graphs = import_module("graph")
    asked = graphs.Study(replace(BUDGETS["cpu"], train=512, test=256))
    row = asked.row_of("SimCLR", seed=0, epochs=1)
    assert [step["epoch"] for step in row["course"]] == [0, 1]
    for place in ("h", "z"):
        assert len(row[place]["explained"]) == graphs.EIGENFUNCTIONS == len(row[place]["agreement"])
        assert [len(cosines) for cosines in row[place]["cosines"].values()] == list(graphs.ANGLES)
        assert max(row[place]["explained"]) < 1
    first, last = row["course"]
    assert first.keys() == last.keys() and first["kNN"] != last["kNN"]


def test_the_factor_study_trains_what_the_log_has():
    """The encoder before and after one epoch, by the method's own recipe."""
    row = import_module("factors").row_of(PLAN, "SwAV", seed=0, epochs=1)
    assert row["method"] == "SwAV" and row["CPU-seconds"] > 0
    assert row["untrained"].keys() == row["factors"].keys() == {"hue", "scale", "turn", "x", "y", "background"}
    assert row["untrained"] != row["factors"] and 0 < row["kNN"] < 1
