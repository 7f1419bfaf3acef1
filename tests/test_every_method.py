"""What must hold for every method that the registry knows, in its tiny form."""

import copy
import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from conftest import THOROUGH
from made_up import StopsAt, assert_equal_states, batch_of, cheap_views

from sslbook import evaluate, sets
from sslbook.callbacks import AfterEpoch, Checkpoints, Probe
from sslbook.methods import METHODS, Now
from sslbook.methods.registry import register
from sslbook.pretrain import pretrain
from sslbook.views import shapes_views
from sslbook.words import load_sentences

DATA = {
    "images": sets.load("shapes", train=128, test=64),
    "text": load_sentences(train=128, test=64),
}
# the weekly run kills more often, and resumes every method with every optimizer
EPOCHS, KILLS = (25, 20) if THOROUGH else (6, 6)
OPTIMIZERS = ("sgd", "adamw", "lars")
RESUMED = [(name, o) for i, name in enumerate(METHODS) for j, o in enumerate(OPTIMIZERS) if THOROUGH or i % 3 == j]
each_method = pytest.mark.parametrize("name", METHODS)


def data_of(method):
    """What a method learns from, for training and for testing."""
    return DATA[METHODS[type(method).__name__].reads]


def train(method, **options):
    options = {"epochs": 2, "batch_size": 32, "views": cheap_views(method), "show_progress": False, **options}
    return pretrain(method, data_of(method)[0], **options)


def some_views(method, seed=0, n=16):
    """The method's own views of some pictures or texts."""
    data = data_of(method)[0]
    return method.views(min(data.size)).render(batch_of(data, n), torch.Generator().manual_seed(seed))


def by_hand(name):
    """A tiny form, told what the loop tells it before a batch of the first 16 images."""
    method = METHODS[name].make_tiny()
    method.before_epoch(data_of(method)[0])
    method.now = Now(rows=torch.arange(16), turn=method.turns[0])
    return method


def loss_of(method, views, seed=3):
    """The loss, called by hand; what it draws follows from the seed."""
    torch.manual_seed(seed)
    terms = method.loss(views)
    return terms["loss"] if isinstance(terms, dict) else terms


@pytest.mark.parametrize("wrong", [dict(family="Magic"), dict(encoder="tree")], ids=["family", "encoder"])
def test_what_the_registry_does_not_know_is_refused(wrong):
    name, entry = next(iter(METHODS.items()))
    about = {key: value for key, value in vars(entry).items() if key != "method"} | wrong
    before = dict(METHODS)
    (field,) = wrong
    with pytest.raises(ValueError, match=f"{name}: {field} must be one of .*; got '{wrong[field]}'"):
        register(entry.method, **about)
    assert before == METHODS


@each_method
def test_its_own_views_are_what_its_loss_takes_called_by_hand(name):
    assert METHODS[name].make_tiny().now == Now(epoch=0, progress=0.0, rows=None, turn="all")
    method = by_hand(name)
    views = some_views(method)
    if METHODS[name].reads == "images":
        assert all(view.shape[:2] == (16, 3) and 0 <= view.min() <= view.max() <= 1 for view in views)
    loss = loss_of(method, views)
    assert loss.shape == () and loss.isfinite()
    loss.backward()
    method.before_step()
    method.after_step(0.5)
    trained = [p for p in method.parameters() if p.grad is not None]
    assert trained and all(p.grad.isfinite().all() for p in trained)
    assert evaluate.embed(method.encoder, data_of(method)[1]).shape == (64, method.encoder.features_dim)


@each_method
def test_another_number_of_views_is_refused(name):
    method = METHODS[name].make_tiny()
    if method.takes is None:
        pytest.skip("it takes as many as it gets, see its own tests")
    views = some_views(method)
    number = "one view" if len(views) == 1 else f"{len(views)} views"
    wrongs, others = (views[:-1], [*views, views[0]]), f"{number} of an image"
    if method.takes is None:  # any number that is enough
        wrongs, others = (views[:1],), r"\d+ views of an image or more"
    for wrong in wrongs:
        message = f"^{name} takes {others}, got {len(wrong)}"
        with pytest.raises(ValueError, match=message):
            method.loss(wrong)
        with pytest.raises(ValueError, match=message):  # before the first step, and before anything is written
            train(method, views=shapes_views()[:1] * len(wrong), callbacks=[StopsAt(0)])


@each_method
def test_chance_is_the_loss_if_all_images_look_alike(name):
    method = by_hand(name)
    chance = method.chance(16)
    if chance is None:
        assert METHODS[name].family != "Contrastive", "its loss has a number of its own for that"
        return
    with torch.no_grad():
        for p in method.parameters():
            p.zero_()  # all outputs 0: no row is like its partner
    if hasattr(method, "queue"):
        method.queue.zero_()
    assert loss_of(method, some_views(method)).item() == pytest.approx(chance, rel=1e-4)


@each_method
def test_every_trained_weight_is_in_one_group_of_a_turn(name):
    method = METHODS[name].make_tiny()
    groups = method.parameter_groups(0.1)
    held = [id(p) for group in groups for p in group["params"]]
    trainable = {id(p) for p in method.parameters() if p.requires_grad}
    assert len(held) == len(set(held)) and set(held) == trainable
    assert {group.get("turn", "all") for group in groups} == set(method.turns)


@each_method
def test_the_history_says_what_happened(name):
    method = METHODS[name].make_tiny()
    before = copy.deepcopy(method.encoder.state_dict())
    seen = []
    watching = [Probe(*data_of(method), every=2), AfterEpoch(lambda epoch, m: seen.append((epoch, m)))]
    history = train(method, callbacks=watching, epochs=3)
    assert seen == [(1, method), (2, method), (3, method)]
    assert len(history.losses) == 3 * 4 and all(map(math.isfinite, history.losses))
    assert history["epoch"] == [1, 2, 3] and len(history["knn"]) == len(history["rankme"]) == 2
    assert history["loss"][0] == pytest.approx(sum(history.losses[:4]) / 4)
    assert 0 < history.seconds < 60
    assert (history.config["method"], history.config["images"], history.config["epochs"]) == (name, 128, 3)
    json.dumps(asdict(history))
    after = method.encoder.state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in after.items())


@each_method
def test_it_learns_one_batch_by_heart(name):
    """The same views and random numbers again and again, buffers (a queue, a centre) set back: the loss must fall."""
    method = by_hand(name)
    if len(method.turns) > 1:
        pytest.skip("of two adversaries neither loss must fall")
    views, buffers, losses = some_views(method), copy.deepcopy(dict(method.named_buffers())), []
    optimizer = torch.optim.AdamW(method.parameter_groups(0.0), lr=3e-3)
    for step in range(20):
        method.load_state_dict(buffers, strict=False)
        method.now = Now(step, step / 20, torch.arange(16))
        loss = loss_of(method, views)
        loss.backward()
        method.before_step()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step((step + 1) / 20)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02 * abs(losses[0]), losses


@each_method
def test_half_precision_gives_nearly_the_same_loss(name):
    whole, half = by_hand(name), by_hand(name)
    views = some_views(whole)
    expected = loss_of(whole, views)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(half, views)
    loss.backward()
    assert loss.dtype == torch.float32, "a loss is computed in full precision"
    assert loss.item() == pytest.approx(expected.item(), rel=0.05, abs=0.05)
    assert all(p.grad is None or p.grad.isfinite().all() for p in half.parameters())


@each_method
def test_the_same_seed_gives_the_same_weights(name):
    one, two, other = (METHODS[name].make_tiny() for _ in range(3))
    train(one, seed=1)
    before = torch.manual_seed(7).get_state()
    train(two, seed=1)
    assert torch.equal(torch.get_rng_state(), before), "the caller's randomness goes on as if nothing had happened"
    assert_equal_states(one, two)
    train(other, seed=2)
    assert any(not torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@each_method
def test_a_state_dict_continues(name):
    """All that a method knows of its past lies in its state: another one goes on with it as the first does."""
    first = METHODS[name].make_tiny()
    train(first)
    second = METHODS[name].make_tiny(seed=5)
    second.load_state_dict(first.state_dict())
    for method in (first, second):
        train(method, epochs=1, seed=4)
    assert_equal_states(first, second)


@pytest.mark.parametrize(("name", "optimizer"), RESUMED)
def test_a_run_that_goes_on_inside_an_epoch_equals_one_never_stopped(name, optimizer, tmp_path):
    whole, broken = METHODS[name].make_tiny(), METHODS[name].make_tiny()
    options = dict(epochs=3, optimizer=optimizer, lr=0.05)
    expected = train(whole, **options)
    checkpoints = Checkpoints(tmp_path, every=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(broken, callbacks=[checkpoints, StopsAt(7)], **options)
    assert checkpoints.newest().endswith("step-000000006.pt")
    resumed = METHODS[name].make_tiny(seed=5)  # other weights: they must come from the file
    torch.manual_seed(99)
    history = train(resumed, callbacks=[checkpoints], **options)
    assert_equal_states(whole, resumed)
    assert history.losses == expected.losses and len(history.epochs) == 3


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """All methods trained in processes that are killed at random: a folder with what came of it."""
    script, folder = Path(__file__).with_name("kill_and_resume.py"), tmp_path_factory.mktemp("killed")
    command = [sys.executable, script, folder, str(EPOCHS), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@each_method
def test_killed_again_and_again_it_ends_with_the_same_weights(name, killed):
    whole, resumed = (torch.load(killed / name / file) for file in ("whole.pt", "resumed.pt"))
    steps = 8 * EPOCHS
    assert whole.keys() == resumed.keys() and len(whole["losses"]) == steps
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
    left = json.loads((killed / name / "kills.json").read_text())
    assert len(left) == KILLS and all(1 <= sum(file.endswith(".pt") for file in files) <= 3 for files in left)
    kept = sorted(path.name for path in (killed / name / "run").iterdir())
    assert kept == [f"step-{steps - 2:09}.pt", f"step-{steps:09}.pt"]
