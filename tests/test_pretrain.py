import inspect
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny
import torch

from sslbook import checkpoint, data, evaluate, views
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import ConvNet
from sslbook.methods import SimCLR
from sslbook.methods.base import Method
from sslbook.pretrain import TrainingDivergedError, pretrain

TRAIN, TEST = data.load("shapes", train=256, test=64)
each_method = pytest.mark.parametrize("name", tiny.METHODS)


def train(method, images=TRAIN, **options):
    taken = views.shapes()[: len(method.views(32))]
    options = {"epochs": 2, "batch_size": 64, "views": taken, "progress": False, **options}
    return pretrain(method, images, **options)


def assert_equal_states(one, two):
    one, two = one.state_dict(), two.state_dict()
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@each_method
def test_the_history_says_what_happened(name):
    method = tiny.make(name)
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
    one, two, other = tiny.make(name), tiny.make(name), tiny.make(name)
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
    whole, broken = tiny.make(name), tiny.make(name)
    options = dict(epochs=4, optimizer=optimizer, lr=0.05)
    expected = train(whole, **options)

    def stop(epoch, method):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, checkpoint=tmp_path / "run", after_epoch=stop, **options)
    resumed = tiny.make(name, seed=5)  # other weights: they must come from the file
    torch.manual_seed(99)
    history = train(resumed, checkpoint=tmp_path / "run", **options)
    assert_equal_states(whole, resumed)
    assert history.losses == expected.losses and len(history.epochs) == 4


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Each method trained in processes that are killed twenty times at random: a folder with what came of it."""
    script = Path(__file__).with_name("kill_and_resume.py")

    def run(name):
        folder = tmp_path_factory.mktemp(name)
        done = subprocess.run([sys.executable, script, name, folder, "20"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(tiny.METHODS, pool.map(run, tiny.METHODS)))


@pytest.mark.parametrize("name", tiny.METHODS)
def test_killed_twenty_times_it_ends_with_the_same_weights(name, killed):
    whole, resumed = (torch.load(killed[name] / file) for file in ("whole.pt", "resumed.pt"))
    assert whole.keys() == resumed.keys() and len(whole["losses"]) == 200
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []
    left = json.loads((killed[name] / "kills.json").read_text())
    assert len(left) == 20 and all(1 <= sum(file.endswith(".pt") for file in files) <= 3 for files in left)
    assert [path.name for path in sorted((killed[name] / "run").iterdir())] == [
        "step-000000198.pt",
        "step-000000200.pt",
    ]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = tiny.make("SimCLR")
    history = train(first, checkpoint=tmp_path / "run")
    again = tiny.make("SimCLR", seed=7)
    assert train(again, checkpoint=tmp_path / "run").losses == history.losses
    assert_equal_states(first, again)


def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path):
    folder = tmp_path / "run"
    train(tiny.make("SimCLR"), checkpoint=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"run with other settings \(lr: 0.003 there, 0.1 now\).*another folder"):
        train(tiny.make("SimCLR"), checkpoint=folder, lr=0.1)
    with pytest.raises(CheckpointError, match="does not fit this method"):
        train(SimCLR(ConvNet(width=4), dim=8), checkpoint=folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    checkpoint.save(tmp_path / "foreign/step-000000001.pt", {"state_dict": {}})
    with pytest.raises(CheckpointError, match="does not fit this method: 'history'"):
        train(tiny.make("SimCLR"), checkpoint=tmp_path / "foreign")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(CheckpointError, match="is or lies below a file: give a folder"):
        train(tiny.make("SimCLR"), checkpoint=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "hello"


def test_a_damaged_checkpoint_is_passed_over_and_only_damaged_ones_are_an_error(tmp_path):
    whole, resumed = tiny.make("SimCLR"), tiny.make("SimCLR", seed=5)
    train(whole, epochs=4)
    train(tiny.make("SimCLR"), epochs=4, checkpoint=tmp_path, keep_checkpoints=3)
    newest = checkpoint.steps(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:5000])
    with pytest.warns(UserWarning, match=r"step-000000016.pt is not a readable .* goes on from step-000000012.pt"):
        train(resumed, epochs=4, checkpoint=tmp_path, keep_checkpoints=3)
    assert_equal_states(whole, resumed)
    for path in checkpoint.steps(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-000000016.pt is not a readable checkpoint"):
        train(tiny.make("SimCLR"), epochs=4, checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("every", "keep", "left"),
    [(1, 2, [8, 12]), (0.5, 3, [8, 10, 12]), (0.01, 4, [9, 10, 11, 12]), (2, 9, [8, 12]), (5, 1, [12])],
)
def test_how_often_and_how_many(every, keep, left, tmp_path):
    train(tiny.make("SimCLR"), epochs=3, checkpoint=tmp_path, checkpoint_every=every, keep_checkpoints=keep)
    assert [int(path.stem[5:]) for path in checkpoint.steps(tmp_path)] == left


FULL = """
import resource, signal, sys, tiny
from sslbook import data, views
from sslbook.pretrain import pretrain
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
images, _ = data.load("shapes", train=64, test=1)
def fill(epoch, method):
    if epoch == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
options = dict(epochs=4, batch_size=32, views=views.shapes(), progress=False)
pretrain(tiny.make("SimCLR"), images, checkpoint=sys.argv[1], after_epoch=fill, **options)
"""


def test_a_full_disc_is_a_clear_error_and_the_last_good_file_stays(tmp_path):
    """Full in earnest: the kernel refuses what goes beyond 20 kB."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, timeout=120, env=environment
    )
    message = done.stderr.splitlines()[-1]
    assert done.returncode and "CheckpointError: could not write" in message and "Is the disc full?" in message
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000002.pt", "step-000000004.pt"]
    assert checkpoint.load(tmp_path / "step-000000004.pt")["step"] == 4


class TooLarge(SimCLR):
    """Asks for more memory than there is."""

    def loss(self, views):
        if len(views[0]) > 10:
            raise self.error if self.error else torch.empty(1 << 60)
        return super().loss(views)


@pytest.mark.parametrize(
    ("error", "optimizer", "message"),
    [
        (None, "adamw", r"out of memory with batch_size=64: try batch_size=32$"),
        (torch.OutOfMemoryError("CUDA out of memory"), "sgd", r"try batch_size=32 and lr=0.0015$"),
        (MemoryError(), "lars", r"try batch_size=32 and lr=0.0015$"),
    ],
    ids=["a CPU's", "a GPU's", "Python's"],
)
def test_out_of_memory_says_which_batch_to_try(error, optimizer, message):
    method = TooLarge(ConvNet(width=2), dim=8)
    method.error = error
    with pytest.raises(MemoryError, match=message):
        train(method, optimizer=optimizer)
    method.error = RuntimeError("another one")
    with pytest.raises(RuntimeError, match="another one"):
        train(method)


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
    with pytest.raises(TrainingDivergedError, match=message + r".*smaller learning rate.*holds the last good state"):
        train(Breaks(at, weights), epochs=3, checkpoint=tmp_path / "run")
    kept = checkpoint.load(checkpoint.steps(tmp_path / "run")[-1])
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
    one, two = tiny.make("SimCLR"), tiny.make("SimCLR")
    wrong = data.ImageSet(TRAIN.images, TRAIN.labels.flip(0), TRAIN.classes)
    train(one, probe=(TRAIN, TEST))
    train(two, wrong, probe=(wrong, TEST))
    assert_equal_states(one, two)


def test_it_takes_plain_tensors_and_the_method_s_own_views():
    history = pretrain(tiny.make("SimCLR"), TRAIN.images, epochs=1, batch_size=100, progress=False)
    assert len(history.losses) == 2, "the last incomplete batch is left out"
    assert history.config["views"][0]["scale"] == (0.08, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(epochs=0), "epochs must be at least 1, got 0"),
        (dict(probe_every=0), "probe_every must be at least 1, got 0"),
        (dict(keep_checkpoints=0), "keep_checkpoints must be at least 1, got 0"),
        (dict(checkpoint_every=0), "checkpoint_every must be more than 0 epochs, got 0"),
        (dict(batch_size=257), "between 2 and the 256 images, got 257"),
        (dict(batch_size=1), "between 2 and the 256 images, got 1"),
        (dict(optimizer="adam"), "one of sgd, adamw, lars; got 'adam'"),
    ],
)
def test_refuses_nonsense(options, message):
    with pytest.raises(ValueError, match=message):
        train(tiny.make("SimCLR"), **options)


def test_simclr_learns_shapes_in_seconds():
    images, test = data.load("shapes", train=1024, test=256)
    torch.manual_seed(0)
    method = SimCLR(ConvNet(width=8), dim=16)

    def knn():
        known, new = evaluate.embed(method.encoder, images), evaluate.embed(method.encoder, test)
        return evaluate.knn(known, images.labels, new, test.labels, k=50)

    before = knn()
    method.temperature = 0.1
    train(method, images, epochs=24, lr=2e-3)
    assert knn() > before + 0.12  # five seeds gave .19 to .27
