"""A stream of photos: the same pictures, batches and trainings as with the folder in memory, in far less of it."""

import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import assert_equal_states
from PIL import Image

from sslbook import photos
from sslbook.callbacks import AfterEpoch, Callback, Checkpoints
from sslbook.images import ImageSet
from sslbook.methods import METHODS
from sslbook.photos import PhotoStream, from_folder
from sslbook.pretrain import pretrain

SIZE = 32
workers = pytest.mark.parametrize("workers", [0, 2])


def save(path, seed, width=48, height=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 photos of three classes, JPEG and PNG, wide and high; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(40):
        name = f"{('cat', 'dog/deep')[i % 2]}/{i}.{('jpg', 'png')[i % 3 == 0]}" if i % 5 else f"{i}.png"
        save(folder / name, i, *((48, 40), (36, 50))[i % 4 == 0])
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return from_folder(folder, SIZE, show_progress=False)


@pytest.fixture
def broken(tmp_path):
    """Ten photos; 2, 3 and 9 can't be read."""
    for i in range(10):
        save(tmp_path / "ab"[i // 5] / f"{i}.png", i)
    for name in ("a/2.png", "a/3.png", "b/9.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def rows(n, size, seed=0):
    return list(torch.randperm(n, generator=torch.Generator().manual_seed(seed)).split(size))


def silent(stream, batches):
    """What the batches are, if nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(stream.batches(batches))


# ---- what it gives


def test_names_labels_and_classes_are_those_of_the_folder(folder, whole):
    stream = PhotoStream(folder, SIZE)
    assert len(stream) == 40 and stream.size == whole.size == (SIZE, SIZE) and stream.name == whole.name
    assert [Path(file).relative_to(folder).as_posix() for file in stream.files] == whole.files
    assert stream.classes == whole.classes == ["cat", "dog"]
    assert torch.equal(stream.labels, whole.labels) and stream.labels.dtype == whole.labels.dtype
    assert stream.skipped == []
    assert whole.name in repr(stream) and "40 photos" in repr(stream)


@workers
def test_a_batch_has_the_rows_of_the_folder(workers, folder, whole):
    order = [*rows(40, 7), torch.tensor([5, 5, 0, 39])]
    stream = PhotoStream(folder, SIZE, workers)
    seen = silent(stream, order)
    assert len(seen) == len(order)
    for batch, wanted in zip(seen, whole.batches(order)):
        assert batch.dtype == torch.uint8 and torch.equal(batch, wanted)
        assert batch.stride() == wanted.stride()  # the next layer may round otherwise in another order
    assert stream.skipped == []


def test_a_stream_is_read_more_than_once_and_left_early(folder, whole):
    stream = PhotoStream(folder, SIZE, 2)
    for seed in (1, 2):
        order = rows(40, 10, seed)
        for batch, _ in zip(stream.batches(order), range(2)):
            assert torch.equal(batch, whole.images[order[0]]) or torch.equal(batch, whole.images[order[1]])
        assert all(torch.equal(*pair) for pair in zip(silent(stream, order), whole.batches(order), strict=True))


@pytest.mark.parametrize(
    "some",
    [slice(3, 9), slice(None, None, 7), torch.tensor([9, 2, 2]), [4], [-1, 0], np.arange(3), torch.arange(40) % 2 == 1],
)
def test_some_rows_are_an_image_set(some, folder, whole):
    part = PhotoStream(folder, SIZE)[some]
    wanted = whole[some]
    assert isinstance(part, ImageSet)
    assert torch.equal(part.images, wanted.images) and torch.equal(part.labels, wanted.labels)
    assert part.files == wanted.files and part.name == wanted.name


def test_rows_of_one_class_keep_the_classes_of_all(folder, whole):
    for label in (-1, 0, 1):
        part = PhotoStream(folder, SIZE)[whole.labels == label]
        assert part.classes == whole.classes and set(part.labels.tolist()) == {label}


def test_no_rows_and_wrong_rows(folder):
    stream = PhotoStream(folder, SIZE)
    with pytest.raises(TypeError, match="rows are"):
        stream[3]
    with pytest.raises(IndexError):
        stream[[40]]
    for nothing in ([], slice(0, 0)):
        assert len(stream[nothing]) == 0 and stream[nothing].size == stream.size
        assert stream[nothing].classes == stream.classes


@workers
def test_the_random_numbers_of_the_caller_are_left_alone(workers, folder):
    torch.manual_seed(3)
    np.random.seed(3)
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    stream = PhotoStream(folder, SIZE, workers)
    list(stream.batches(rows(40, 16)))
    assert len(stream[:3]) == 3
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == numpy).all()


def test_workers_by_default(folder, monkeypatch):
    for cores, wanted in ((2, 2), (64, 8), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert PhotoStream(folder, SIZE).workers == wanted
    assert PhotoStream(folder, SIZE, 0).workers == 0


def test_no_worker_outlives_its_batches(folder, tmp_path):
    """Also while someone holds the error, as a notebook does: later workers would inherit the earlier ones' queues."""
    assert multiprocessing.active_children() == []
    stream = PhotoStream(folder, SIZE, 2)
    batches = stream.batches(rows(40, 4))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        list(PhotoStream(tmp_path, SIZE, 2).batches([torch.tensor([0])]))
    assert error.tb is not None and multiprocessing.active_children() == []


def test_workers_stay_for_the_next_epoch_and_end_with_the_training(folder, whole):
    """Where processes are spawned, each takes seconds to load PyTorch."""
    stream, order, seen = PhotoStream(folder, SIZE, 2), rows(40, 16), []
    for _ in range(3):
        assert all(torch.equal(*pair) for pair in zip(silent(stream, order), whole.batches(order), strict=True))
        seen.append({process.pid for process in multiprocessing.active_children()})
    assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 2
    at_once = zip(stream.batches(order), stream.batches(order[::-1]), strict=True)
    for (one, two), a, b in zip(at_once, order, order[::-1], strict=True):
        assert torch.equal(one, whole.images[a]) and torch.equal(two, whole.images[b])
    stream.close()
    stream.close()
    assert multiprocessing.active_children() == []
    pids = AfterEpoch(lambda epoch, method: seen.append({p.pid for p in multiprocessing.active_children()}))
    pretrain(METHODS["SimCLR"].make_tiny(), stream, **OPTIONS, callbacks=[pids])
    assert seen[-1] == seen[-2] and len(seen[-1]) == 2 and multiprocessing.active_children() == []


def test_too_little_shared_memory_does_not_stop_it(folder, whole, monkeypatch):
    """Docker gives 64 MB. What PyTorch says then; workers are forked, so they have this tensor too."""

    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    order = rows(40, 16)
    for batch, wanted in zip(silent(PhotoStream(folder, SIZE, 2), order), whole.batches(order), strict=True):
        assert torch.equal(batch, wanted) and batch.stride() == wanted.stride()


def test_a_worker_that_dies_is_said_in_one_line(folder):
    """PyTorch notices it anywhere: in a step too, or while a batch is handed over."""

    class Kills(Callback):
        def after_step(self, run):
            for worker in multiprocessing.active_children():
                worker.kill()

    stream = PhotoStream(folder, SIZE, 1)
    with pytest.raises(ChildProcessError, match=r"^a process that reads photos died \(.*fewer workers") as error:
        pretrain(
            METHODS["SimCLR"].make_tiny(), stream, epochs=9, batch_size=4, callbacks=[Kills()], show_progress=False
        )
    assert "\n" not in str(error.value) and multiprocessing.active_children() == []


SPAWNED = """
import multiprocessing
import sys
import torch
from sslbook.photos import PhotoStream
def main():
    stream = PhotoStream(sys.argv[1], 32, workers=1)
    print(sum(len(batch) for _ in range(2) for batch in stream.batches([torch.arange(8)])))
multiprocessing.set_start_method("spawn", force=True)
"""


def test_where_processes_are_spawned_a_script_needs_its_guard_and_is_told(folder, tmp_path):
    guarded, bare = tmp_path / "guarded.py", tmp_path / "bare.py"
    guarded.write_text(
        SPAWNED.replace("multiprocessing.set", 'if __name__ == "__main__":\n    multiprocessing.set') + "    main()\n"
    )
    bare.write_text(f"{SPAWNED}main()\n")
    runs = [
        subprocess.run([sys.executable, file, folder], capture_output=True, text=True, timeout=120)
        for file in (guarded, bare)
    ]
    assert runs[0].returncode == 0 and runs[0].stdout == "16\n", runs[0].stderr
    assert runs[1].returncode and 'a script must begin its work below `if __name__ == "__main__":`' in runs[1].stderr


def test_how_many_workers(folder, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for wrong in (-1, 33, 99_999_999):
        with pytest.raises(ValueError, match=f"workers must lie between 0 and 32 on this machine, got {wrong}"):
            PhotoStream(folder, SIZE, wrong)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert PhotoStream(folder, SIZE, 128).workers == 128


def test_the_checksum_is_that_of_the_folder_in_memory_and_changes_with_a_photo(folder, whole, tmp_path):
    assert PhotoStream(folder, SIZE, 0).checksum() == whole.checksum()
    sums = {whole.checksum(), PhotoStream(folder, 16, 0).checksum()}
    for name, seed in (("0.png", 0), ("0.png", 1), ("1.png", 1)):
        save(tmp_path / name, seed)
        sums |= {from_folder(tmp_path, SIZE, show_progress=False).checksum(), PhotoStream(tmp_path, SIZE, 0).checksum()}
    assert len(sums) == 5


# ---- photos that can't be read


@workers
def test_the_next_photo_stands_in_for_a_broken_one(workers, broken):
    stream = PhotoStream(broken, SIZE, workers)
    assert len(stream) == 10 and stream.labels.tolist() == [0] * 5 + [1] * 5
    order = [torch.tensor([1, 2]), torch.tensor([3, 9, 2]), torch.tensor([4, 0, 9])]
    with pytest.warns(UserWarning, match=r"2\.png can't be read \(empty file\).*\.skipped") as caught:
        batches = list(stream.batches(order))
    assert len(caught) == 1
    good = {i: photos._read_photo(stream.files[i], SIZE) for i in (0, 1, 4)}
    for batch, wanted in zip(batches, ([1, 4], [4, 0, 4], [4, 0, 0]), strict=True):
        assert np.array_equal(batch.numpy(), np.stack([good[i] for i in wanted]))
    names = [str(broken / name) for name in ("a/2.png", "a/3.png", "b/9.png")]
    assert sorted(stream.skipped) == [(name, "empty file") for name in names]  # each once, a second pass adds none
    assert all(torch.equal(*pair) for pair in zip(silent(stream, order), batches, strict=True))
    assert len(stream.skipped) == 3


def test_a_broken_photo_found_later_is_listed_without_a_second_warning(broken):
    stream = PhotoStream(broken, SIZE, 0)
    with pytest.warns(UserWarning, match=r"9\.png"):
        list(stream.batches([torch.tensor([9])]))
    assert [Path(file).name for file, _ in stream.skipped] == ["9.png"]
    silent(stream, [torch.arange(10)])
    assert [Path(file).name for file, _ in stream.skipped] == ["9.png", "2.png", "3.png"]


def test_broken_photos_are_left_out_of_rows(broken):
    with pytest.warns(UserWarning, match="2 of 4 pictures") as caught:
        part = PhotoStream(broken, SIZE)[1:5]
    assert len(caught) == 1 and caught[0].filename == __file__
    assert part.files == ["a/1.png", "a/4.png"] and part.classes == ["a", "b"] and part.labels.tolist() == [0, 0]
    assert [Path(file).name for file, _ in part.skipped] == ["2.png", "3.png"]


@workers
def test_a_hundred_broken_photos_one_after_the_other_are_an_error(workers, tmp_path):
    for i in range(130):
        (tmp_path / f"{i:03}.png").write_bytes(b"")
    for i in (0, 100):
        save(tmp_path / f"{i:03}.png", i)
    stream = PhotoStream(tmp_path, SIZE, workers)
    with pytest.warns(UserWarning):  # 99 are not too many
        (batch,) = stream.batches([torch.tensor([1, 101])])
    assert np.array_equal(batch[0].numpy(), photos._read_photo(tmp_path / "100.png", SIZE))
    assert np.array_equal(batch[1].numpy(), photos._read_photo(tmp_path / "000.png", SIZE))
    assert len(stream.skipped) == 128
    (tmp_path / "100.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"^100 photos one after the other can't be read, from .*001\.png: empty file$"
    ):
        list(stream.batches([torch.tensor([1])]))


@workers
def test_a_folder_without_one_readable_photo_ends(workers, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="3 photos one after the other"):
        list(PhotoStream(tmp_path, SIZE, workers).batches([torch.tensor([1])]))


def test_a_folder_that_cannot_be_opened_is_told(folder, monkeypatch):
    """Root may open every folder, so the walk itself is replaced."""
    find = photos._find_photos
    monkeypatch.setattr(
        photos, "_find_photos", lambda path, skipped: skipped.append(("x", "no")) or find(path, skipped)
    )
    with pytest.warns(UserWarning, match=r"x: no"):
        stream = PhotoStream(folder, SIZE)
    assert len(stream) == 40 and stream.skipped == [("x", "no")]
    stream.files[3] = folder / "gone.png"
    with pytest.warns(UserWarning, match=r"gone\.png"):  # a folder's warning isn't that of the photos
        list(stream.batches([torch.tensor([3])]))
    monkeypatch.setattr(photos, "_find_photos", lambda path, skipped: skipped.append(("x", "no")) or ([], {}))
    with pytest.raises(ValueError, match="x: no"):
        PhotoStream(folder, SIZE)


def test_folders_that_give_nothing_are_refused_as_in_memory(tmp_path):
    def raised(read, *arguments):
        with pytest.raises((OSError, ValueError)) as error:
            read(*arguments)
        return type(error.value), str(error.value)

    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    save(tmp_path / "a.png", 0)
    kinds = []
    for arguments in ((tmp_path / "gone",), (tmp_path / "a.png",), (tmp_path / "empty",), (tmp_path / "notes",)):
        kinds.append(raised(PhotoStream, *arguments))
        assert kinds[-1] == raised(from_folder, *arguments)
    assert [kind for kind, _ in kinds] == [FileNotFoundError, NotADirectoryError, ValueError, ValueError]
    assert raised(PhotoStream, tmp_path, 0) == raised(from_folder, tmp_path, 0)
    assert raised(PhotoStream, tmp_path, 0)[0] is ValueError


# ---- training


OPTIONS = dict(epochs=2, batch_size=16, show_progress=False)


@pytest.mark.parametrize(("name", "workers"), [("SimCLR", 0), ("SimCLR", 2), ("MAE", 0), ("MAE", 2)])
def test_training_is_bit_for_bit_that_of_the_folder_in_memory(name, workers, folder, whole):
    one, two = METHODS[name].make_tiny(), METHODS[name].make_tiny()
    memory = pretrain(one, whole, **OPTIONS)
    stream = pretrain(two, PhotoStream(folder, SIZE, workers), **OPTIONS)
    assert len(memory.losses) == 4 and memory.losses == stream.losses and memory.config == stream.config
    assert_equal_states(one, two)


class Stop(Exception):
    pass


@workers
def test_a_stopped_training_goes_on_where_it_was(workers, folder, tmp_path, monkeypatch):
    """Stopped inside the second epoch, gone on with from the checkpoint inside it."""
    options = dict(OPTIONS, batch_size=8)
    checkpoints = [Checkpoints(tmp_path, every=0.4)]
    straight, stopped, again = (METHODS["SimCLR"].make_tiny() for _ in range(3))
    wanted = pretrain(straight, PhotoStream(folder, SIZE, workers), **options)
    after_step = stopped.after_step

    def stop(progress):
        if progress >= 0.9:
            raise Stop
        after_step(progress)

    monkeypatch.setattr(stopped, "after_step", stop)
    with pytest.raises(Stop):
        pretrain(stopped, PhotoStream(folder, SIZE, workers), callbacks=checkpoints, **options)
    asked = []

    class Watched(PhotoStream):
        def batches(self, rows):
            asked.append([len(part) for part in rows])
            return super().batches(rows)

    history = pretrain(again, Watched(folder, SIZE, workers), callbacks=checkpoints, **options)
    assert asked == [[8, 8]], "the batches after the checkpoint, at step 8 of 10, and no others"
    assert history.losses == wanted.losses
    assert_equal_states(straight, again)


def test_a_broken_photo_does_not_stop_a_training(broken):
    stream = PhotoStream(broken, SIZE, 2)
    with pytest.warns(UserWarning, match="stand in") as caught:
        history = pretrain(METHODS["SimCLR"].make_tiny(), stream, epochs=3, batch_size=5, show_progress=False)
    assert len(history.losses) == 6 and np.isfinite(history.losses).all()
    assert len([w for w in caught if "stand in" in str(w.message)]) == 1 and len(stream.skipped) == 3


# ---- memory


MEASURE = """
import json, re, sys, torch
from sslbook.photos import PhotoStream, from_folder
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
def measured(workers):
    stream = PhotoStream(sys.argv[1], 256, workers)
    batches = list(torch.arange(len(stream)).split(16))
    list(stream.batches(batches[:1]))
    start = peak()
    megabytes = sum(batch.numel() for batch in stream.batches(batches)) / 2**20
    return megabytes, peak() - start
seen = [measured(0), measured(2)]
start = peak()
whole = from_folder(sys.argv[1], 256, show_progress=False)
print(json.dumps([*seen, [whole.images.numel() / 2**20, peak() - start]]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory of a process is read from /proc")
def test_photos_pass_through_memory_and_do_not_stay(tmp_path):
    """800 photos of 256 px are 150 MB, a batch 3 MB."""
    save(tmp_path / "0.jpg", 0, 256, 256)
    for i in range(1, 800):
        os.link(tmp_path / "0.jpg", tmp_path / f"{i}.jpg")
    done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    alone, with_workers, whole = json.loads(done.stdout)
    assert alone[0] == with_workers[0] == whole[0] == 150, "MB of pixels"
    assert whole[1] > 100, "else nothing is measured"
    assert alone[1] < 50 and with_workers[1] < 50, (alone, with_workers, whole)
