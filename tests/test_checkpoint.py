import os
import pickle
import random
import subprocess
import sys
import zipfile

import pytest
import torch

from sslbook import checkpoint
from sslbook.checkpoint import CheckpointError
from sslbook.files import alone, atomic


def test_what_is_saved_is_loaded(tmp_path):
    state = {"weights": {"a": torch.randn(3, 2)}, "epoch": 4, "name": "x", "losses": [1.0, 0.5], "none": None}
    checkpoint.save(tmp_path / "new/folder/run.pt", state)
    loaded = checkpoint.load(tmp_path / "new/folder/run.pt")
    assert torch.equal(loaded["weights"].pop("a"), state["weights"].pop("a")) and loaded == state
    assert os.listdir(tmp_path / "new/folder") == ["run.pt"], "nothing half-written stays"


class Payload:
    """What an attacker's checkpoint does when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_payload_is_refused_without_running_it(tmp_path, write):
    write({"weights": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil\.pt is not a readable checkpoint"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False) if write is torch.save else pickle.loads(
        (tmp_path / "evil.pt").read_bytes()
    )
    assert (tmp_path / "ran").exists(), "the payload is a real one"


@pytest.mark.parametrize("keep", [0, 1, 100, 200, 0.5, -1])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-2020"])
def test_a_cut_off_file_is_a_clear_error(tmp_path, keep, zipped):
    path = tmp_path / "run.pt"
    torch.save({"weights": torch.randn(1000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"run\.pt is not a readable checkpoint .*cut off"):
        checkpoint.load(path)


def test_one_wrong_bit_is_refused_or_changes_nothing(tmp_path):
    """Nothing that is read differs from what was written; most bits belong to a tensor."""
    path, state = tmp_path / "run.pt", {"weights": torch.arange(5000.0), "step": 7, "lr": 0.5}
    checkpoint.save(path, state)
    whole, refused = path.read_bytes(), 0
    random.seed(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        try:
            found = checkpoint.load(path)
        except CheckpointError as error:
            assert "is not a readable checkpoint" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert torch.equal(found.pop("weights"), state["weights"]) and found == {"step": 7, "lr": 0.5}
    assert refused > 80
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 4
    path.write_bytes(middle)
    assert torch.load(path)["weights"].shape == (5000,), "PyTorch itself does not look"
    with pytest.raises(CheckpointError, match=r"run\.pt is not a readable checkpoint \(wrong checksum of .*data/0"):
        checkpoint.load(path)


def test_a_wrong_bit_in_the_newest_and_the_one_before_is_taken(tmp_path):
    for step in (1, 2):
        checkpoint.save_step(tmp_path, step, {"weights": torch.full((5000,), float(step))})
    newest = checkpoint.steps(tmp_path)[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match=r"002.pt is not .*wrong checksum.* goes on from step-000000001.pt"):
        assert checkpoint.load_latest(tmp_path)[1]["weights"].unique() == 1


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    path, bomb = tmp_path / "run.pt", tmp_path / "bomb.pt"
    checkpoint.save(path, {"weights": torch.zeros(1_000_000)})
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert bomb.stat().st_size < 20_000
    with pytest.raises(CheckpointError, match=r"bomb.pt is not a readable checkpoint \(it is compressed"):
        checkpoint.load(bomb)


def test_other_things_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "missing.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        checkpoint.load(tmp_path / "tensor.pt")


def test_a_full_disc_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    checkpoint.save(path, {"epoch": 1})

    def full(state, file):
        file.write(b"half a ")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left.*untouched"):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["run.pt"]


def test_a_folder_is_tried_before_the_training(tmp_path, monkeypatch):
    assert checkpoint.prepare(tmp_path / "a/b").is_dir() and not list((tmp_path / "a/b").iterdir())
    (tmp_path / "file").touch()
    for wrong in ("file", "file/below"):
        with pytest.raises(CheckpointError, match="is or lies below a file: give a folder"):
            checkpoint.prepare(tmp_path / wrong)
    with pytest.raises(CheckpointError, match="no checkpoint can be written to /proc/new"):
        checkpoint.prepare("/proc/new")
    with pytest.raises(CheckpointError, match=r"Google Drive, which is not mounted: run drive.mount"):
        checkpoint.prepare("/content/drive/MyDrive/simclr")


def test_the_newest_are_kept_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "step-000000099.pt").write_bytes(b"damaged, of a later step")
    (tmp_path / "step-000000003.pt.0a1b2c3d.part").touch()  # a kill came while it was written
    assert checkpoint.load_latest(tmp_path / "none") is None
    for step in range(1, 6):
        checkpoint.save_step(tmp_path, step, {"step": step}, keep=2)
    left = ["notes.txt", "step-000000004.pt", "step-000000005.pt", "step-000000099.pt"]
    assert sorted(os.listdir(tmp_path)) == left
    with pytest.warns(UserWarning, match=r"099.pt is not a readable .* goes on from step-000000005.pt"):
        path, state = checkpoint.load_latest(tmp_path)
    assert path.name == "step-000000005.pt" and state == {"step": 5}
    assert sorted(os.listdir(tmp_path)) == left, "the damaged one may be worth a look"


def test_on_google_drive_what_is_deleted_is_emptied_before(tmp_path, monkeypatch):
    """Its bin keeps deleted files, and they count: in 30 days hundreds of checkpoints. Elsewhere a copy by a hard link
    must not be emptied with it."""
    emptied = []
    unlink = type(tmp_path).unlink
    watched = lambda path, **how: (emptied.append(path.stat().st_size), unlink(path, **how))  # noqa: E731
    monkeypatch.setattr(type(tmp_path), "unlink", watched)
    for folder in ("MyDrive/run", "here"):
        for step in range(1, 5):
            checkpoint.save_step(tmp_path / folder, step, {"step": step}, keep=1)
        assert [path.stem for path in checkpoint.steps(tmp_path / folder)] == ["step-000000004"]
    assert emptied[:3] == [0, 0, 0] and len(emptied) == 6 and min(emptied[3:]) > 100


HOLD = """
import sys, time
from sslbook.files import alone
with alone(sys.argv[1]):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_one_process_s_until_it_ends_in_whatever_way(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "x"], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "mine\n"
        with alone(tmp_path / "y", 0):
            pass
        told = pytest.raises(TimeoutError, match=r"another process writes to .*x: wait for its end, or take another")
        with told, alone(tmp_path / "z/../x", 0.1):
            raise AssertionError("two hold it")
    finally:
        other.kill()
        other.wait()
    with alone(tmp_path / "x", 0), pytest.raises(TimeoutError, match="of the block's own"):
        raise TimeoutError("of the block's own")
    assert list(tmp_path.iterdir()) == [], "the lock lies elsewhere"


def test_two_that_write_one_file_at_once_do_not_mix(tmp_path):
    with atomic(tmp_path / "log.json") as one, atomic(tmp_path / "log.json") as two:
        one.write(b"one" * 9)
        two.write(b"two")
    assert (tmp_path / "log.json").read_bytes() == b"one" * 9, "the last that was whole"
    assert os.listdir(tmp_path) == ["log.json"]
