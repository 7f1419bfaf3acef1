import os
import pickle

import pytest
import torch

from sslbook import checkpoint
from sslbook.checkpoint import CheckpointError


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
    (tmp_path / "step-000000003.pt.part").touch()  # a kill came while it was written
    assert checkpoint.load_latest(tmp_path / "none") is None
    for step in range(1, 6):
        checkpoint.save_step(tmp_path, step, {"step": step}, keep=2)
    left = ["notes.txt", "step-000000004.pt", "step-000000005.pt", "step-000000099.pt"]
    assert sorted(os.listdir(tmp_path)) == left
    with pytest.warns(UserWarning, match=r"099.pt is not a readable .* goes on from step-000000005.pt"):
        path, state = checkpoint.load_latest(tmp_path)
    assert path.name == "step-000000005.pt" and state == {"step": 5}
    assert sorted(os.listdir(tmp_path)) == left, "the damaged one may be worth a look"
