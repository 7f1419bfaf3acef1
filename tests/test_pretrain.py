import inspect
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from sslbook import checkpoint, data, evaluate, views
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import ConvNet
from sslbook.methods import BYOL, MoCo, SimCLR, SimSiam
from sslbook.methods.base import Method
from sslbook.pretrain import TrainingDivergedError, pretrain

TRAIN, TEST = data.load("shapes", train=256, test=64)
METHODS = {
    "SimCLR": lambda encoder: SimCLR(encoder, dim=16),
    "MoCo": lambda encoder: MoCo(encoder, dim=16, K=128),
    "BYOL": lambda encoder: BYOL(encoder, dim=16, hidden=32),
    "SimSiam": lambda encoder: SimSiam(encoder, dim=16, layers=2),
}
each_method = pytest.mark.parametrize("name", METHODS)


def make(name="SimCLR", width=4, seed=0):
    torch.manual_seed(seed)
    return METHODS[name](ConvNet(width=width))


def train(method, images=TRAIN, **options):
    options = {"epochs": 2, "batch_size": 64, "views": views.shapes(), "progress": False, **options}
    return pretrain(method, images, **options)


def assert_equal_states(one, two):
    one, two = one.state_dict(), two.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@each_method
def test_the_history_says_what_happened(name):
    method = make(name)
    before = {k: v.clone() for k, v in method.encoder.state_dict().items()}
    seen = []
    history = train(
        method, probe=(TRAIN, TEST), probe_every=2, epochs=3, after_epoch=lambda epoch, m: seen.append((epoch, m))
    )
    assert seen == [(1, method), (2, method), (3, method)]
    assert len(history.losses) == 3 * 4 and all(map(math.isfinite, history.losses))
    assert history["epoch"] == [1, 2, 3] and len(history["knn"]) == len(history["rankme"]) == 2
    assert history["loss"][0] == pytest.approx(sum(history.losses[:4]) / 4)
    assert 0 < history.seconds < 60
    assert (history.config["method"], history.config["images"], history.config["epochs"]) == (name, 256, 3)
    json.dumps(asdict(history))
    assert any(not torch.equal(v, before[k]) for k, v in method.encoder.state_dict().items())


@each_method
def test_the_same_seed_gives_the_same_weights(name):
    one, two, other = make(name), make(name), make(name)
    train(one, seed=1)
    before = torch.manual_seed(7).get_state()
    train(two, seed=1)
    assert torch.equal(torch.get_rng_state(), before), "the caller's randomness goes on as if nothing had happened"
    assert_equal_states(one, two)
    train(other, seed=2)
    assert any(not torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


@each_method
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_a_run_that_goes_on_equals_one_never_stopped_bit_for_bit(name, optimizer, tmp_path):
    whole, broken = make(name), make(name)
    options = dict(epochs=4, optimizer=optimizer, lr=0.05)
    expected = train(whole, **options)

    def stop(epoch, method):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=tmp_path / "run.pt", after_epoch=stop, **options)
    resumed = make(name, seed=5)  # other weights: they must come from the file
    torch.manual_seed(99)
    history = train(resumed, checkpoint=tmp_path / "run.pt", **options)
    assert_equal_states(whole, resumed)
    assert history.losses == expected.losses and len(history.epochs) == 4


RUN = """
import sys, torch
from sslbook import data, views
from sslbook.encoders import ConvNet
from sslbook.methods import SimCLR
from sslbook.pretrain import pretrain

torch.set_num_threads(1)
torch.manual_seed(0)
method = SimCLR(ConvNet(width=4), dim=16)
images, _ = data.load("shapes", train=2048, test=64)
pretrain(method, images, epochs=12, batch_size=64, views=views.shapes(), checkpoint=sys.argv[1] or None, progress=False)
torch.save(method.state_dict(), sys.argv[2])
"""


def test_killed_and_called_again_it_ends_with_the_same_weights(tmp_path):
    def start(*arguments):
        return subprocess.Popen([sys.executable, "-c", RUN, *map(str, arguments)])

    assert start("", tmp_path / "whole.pt").wait(120) == 0
    killed = 0
    for _ in range(2):
        run = start(tmp_path / "run.pt", tmp_path / "resumed.pt")
        seen = (tmp_path / "run.pt").stat().st_mtime_ns if (tmp_path / "run.pt").exists() else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and run.poll() is None:
            if (tmp_path / "run.pt").exists() and (tmp_path / "run.pt").stat().st_mtime_ns > seen:
                break
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        killed += run.wait(60) == -signal.SIGKILL
    assert killed >= 1, "the kills came while it was running"
    assert start(tmp_path / "run.pt", tmp_path / "resumed.pt").wait(120) == 0
    whole, resumed = torch.load(tmp_path / "whole.pt"), torch.load(tmp_path / "resumed.pt")
    assert all(torch.equal(v, resumed[k]) for k, v in whole.items())


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = make()
    history = train(first, checkpoint=tmp_path / "run.pt")
    again = make(seed=7)
    assert train(again, checkpoint=tmp_path / "run.pt").losses == history.losses
    assert_equal_states(first, again)


def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.pt"
    train(make(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"run with other settings \(lr: 0.003 there, 0.1 now\)"):
        train(make(), checkpoint=path, lr=0.1)
    with pytest.raises(CheckpointError, match="does not fit this method"):
        train(make(width=8), checkpoint=path)
    checkpoint.save(tmp_path / "foreign.pt", {"state_dict": {}})
    with pytest.raises(CheckpointError, match="does not fit this method: 'config'"):
        train(make(), checkpoint=tmp_path / "foreign.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        train(make(), checkpoint=tmp_path / "text.pt")
    assert path.read_bytes() == before and (tmp_path / "text.pt").read_text() == "hello"


class Breaks(Method):
    """Its loss is NaN from a certain step on, or its weights are though the loss is not."""

    views = staticmethod(views.cifar)

    def __init__(self, at, weights=False):
        super().__init__(ConvNet(width=2))
        self.at, self.weights, self.steps = at, weights, 0

    def loss(self, views):
        self.steps += 1
        loss = self.encoder(views[0]).square().mean()
        return loss * math.nan if self.steps > self.at and not self.weights else loss

    def after_step(self, progress):
        if self.weights and self.steps == self.at:
            next(self.parameters()).data.fill_(math.nan)


@pytest.mark.parametrize(
    ("at", "weights", "message"),
    [(5, False, r"the loss became nan by step \d+, in epoch 2"), (8, True, r"encoder.* no longer finite, in epoch 2")],
    ids=["loss", "weights"],
)
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(at, weights, message, tmp_path):
    with pytest.raises(TrainingDivergedError, match=message + r".*smaller learning rate.*holds the last good epoch"):
        train(Breaks(at, weights), epochs=3, checkpoint=tmp_path / "run.pt")
    kept = checkpoint.load(tmp_path / "run.pt")
    assert len(kept["history"]["epochs"]) == 1
    assert all(torch.isfinite(v).all() for v in kept["method"].values())


def test_the_rate_rises_falls_and_stays_where_a_group_says_so():
    rates = []

    class Watched(Breaks):
        def parameter_groups(self, weight_decay):
            first, *rest = self.encoder.parameters()
            self.groups = [
                {"params": [first]},
                {"params": rest[:1], "constant_lr": True},
                {"params": rest[1:], "lr_scale": 10},
            ]
            return self.groups

        def after_step(self, progress):
            rates.append([group["lr"] for group in self.groups] + [progress])

    # the optimizer keeps the very dicts, so their rates can be read after a step
    train(Watched(99), epochs=4, optimizer="sgd", lr=0.2, warmup_epochs=1)
    rate, constant, tenfold, progress = zip(*rates)
    assert rate[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2]) and rate[4] == 0.2
    assert rate[10] == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi * 6 / 12)))
    assert set(constant) == {0.2} and tenfold == pytest.approx([10 * r for r in rate])
    assert progress[0] == 1 / 16 and progress[-1] == 1


def test_the_loop_names_no_method_and_a_method_fits_a_screen():
    loop = inspect.getsource(sys.modules["sslbook.pretrain"]).lower()
    files = {path.stem: path for path in Path(inspect.getfile(Method)).parent.glob("[a-z]*.py") if path.stem != "base"}
    assert {"simclr", "moco", "byol", "simsiam"} <= files.keys()
    assert [name for name in files if name in loop] == []
    assert [name for name, path in files.items() if len(path.read_text().splitlines()) > 150] == []


def test_labels_never_reach_the_method():
    one, two = make(), make()
    wrong = data.ImageSet(TRAIN.images, TRAIN.labels.flip(0), TRAIN.classes)
    train(one, probe=(TRAIN, TEST))
    train(two, wrong, probe=(wrong, TEST))
    assert_equal_states(one, two)


def test_it_takes_plain_tensors_and_the_method_s_own_views():
    history = pretrain(make(), TRAIN.images, epochs=1, batch_size=100, progress=False)
    assert len(history.losses) == 2, "the last incomplete batch is left out"
    assert history.config["views"][0]["scale"] == (0.08, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(epochs=0), "epochs must be at least 1, got 0"),
        (dict(batch_size=257), "between 2 and the 256 images, got 257"),
        (dict(batch_size=1), "between 2 and the 256 images, got 1"),
        (dict(optimizer="adam"), "one of sgd, adamw, lars; got 'adam'"),
    ],
)
def test_refuses_nonsense(options, message):
    with pytest.raises(ValueError, match=message):
        train(make(), **options)


def test_simclr_learns_shapes_in_seconds():
    images, test = data.load("shapes", train=1024, test=256)
    method = make(width=8)

    def knn():
        known, new = evaluate.embed(method.encoder, images), evaluate.embed(method.encoder, test)
        return evaluate.knn(known, images.labels, new, test.labels, k=50)

    before = knn()
    method.temperature = 0.1
    train(method, images, epochs=24, lr=2e-3)
    assert knn() > before + 0.12  # five seeds gave .19 to .27
