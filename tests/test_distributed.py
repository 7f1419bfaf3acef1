"""Two processes (gloo, on the CPU) give what one process gives with the joined batch."""

import subprocess
import sys
from pathlib import Path

import joined_batch
import pytest
import torch

from sslbook import distributed, sets
from sslbook.callbacks import Checkpoints
from sslbook.methods import METHODS
from sslbook.norms import sync_batch_norm
from sslbook.pretrain import pretrain
from sslbook.views import DRAWS, cifar_views

SCRIPT = Path(__file__).with_name("joined_batch.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What one process and two give, by case."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [[sys.executable, SCRIPT, folder / "one.pt"], [*TORCHRUN, SCRIPT, folder / "two.pt"]]
    for run in runs:
        done = subprocess.run(run, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "one.pt"), torch.load(folder / "two.pt"), folder


@pytest.mark.parametrize("name", joined_batch.CASES)
def test_loss_gradients_and_buffers_of_one_batch(both, name):
    one, two = (results[name]["one batch"] for results in both[:2])
    assert one.keys() == two.keys() and any(key.startswith("gradient") for key in one)
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-8, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", joined_batch.CASES)
def test_a_training_ends_with_the_same_weights(both, name):
    one, two = (results[name]["training"] for results in both[:2])
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-6, atol=1e-8, msg=lambda m, key=key: f"{key}: {m}")


def test_one_file_is_written_and_one_process_can_go_on_from_it(both):
    folder = both[2]
    for run in ("one.pt.checkpoints", "two.pt.checkpoints"):
        assert sorted(path.name for path in (folder / run).iterdir()) == ["step-000000006.pt", "step-000000008.pt"]
    (folder / "two.pt.checkpoints/step-000000008.pt").unlink()
    torch.set_default_dtype(torch.float64)
    try:
        resumed = joined_batch.training("BYOL", folder / "two.pt.checkpoints")
    finally:
        torch.set_default_dtype(torch.float32)
    for key, value in both[1]["BYOL"]["training"].items():
        torch.testing.assert_close(resumed[key], value, rtol=1e-6, atol=1e-8, msg=lambda m, key=key: f"{key}: {m}")


REFUSED = """
from sslbook import distributed, sets
from sslbook.callbacks import Checkpoints
from sslbook.methods import METHODS
from sslbook.pretrain import pretrain
images, _ = sets.load("shapes", train=64, test=1)
with distributed.process_group("cpu"):
    own_folder = [Checkpoints(f"{folder}/{distributed.rank()}")]
    for wrong in (dict(batch_size=33), dict(batch_size=32, callbacks=own_folder)):
        try:
            pretrain(METHODS["SimCLR"].make_tiny(), images, epochs=1, show_progress=False, **wrong)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
    distributed.world_size() == 2 or exit("not two processes")
"""


def test_what_processes_cannot_share_is_refused(tmp_path):
    (tmp_path / "1").mkdir()
    images, _ = sets.load("shapes", train=64, test=1)
    method, callbacks = METHODS["SimCLR"].make_tiny(), [Checkpoints(tmp_path / "1")]
    pretrain(method, images, epochs=1, batch_size=32, callbacks=callbacks, show_progress=False)
    (tmp_path / "script.py").write_text(f"folder = {str(tmp_path)!r}\n{REFUSED}")
    environment = {"PYTHONPATH": str(SCRIPT.parent), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    run = [*TORCHRUN, tmp_path / "script.py"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ValueError: batch_size must be a multiple of the 2 processes, got 33") == 2
    assert done.stdout.count("CheckpointError: not every process finds the same checkpoint") == 2


def test_alone_nothing_changes():
    x = torch.rand(4, 3)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    assert all(f(x) is x for f in (distributed.all_gather, distributed.all_reduce_mean))
    assert torch.equal(distributed.shard(x), x)
    method = METHODS["BYOL"].make_tiny()
    before = list(method.modules())
    sync_batch_norm(method)
    distributed.all_reduce_buffers(method)
    assert list(method.modules()) == before
    with distributed.process_group("cpu") as device:
        assert device == torch.device("cpu") and distributed.world_size() == 1
    torch.manual_seed(3)
    drawn = distributed.rand((4, 2))
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4, 2))
    assert cifar_views().draw(5, torch.Generator().manual_seed(0)).shape == (2, 5, DRAWS)
