import json
from importlib import import_module

import pytest
import torch

from sslbook import sets, speedrun, views
from sslbook.encoders import ConvNet
from sslbook.images import ImageSet
from sslbook.speedrun import Track


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A short track."""
    monkeypatch.setitem(speedrun.TRACKS, "shapes", Track("shapes", 0.3))
    halves = sets.load("shapes", train=512, test=128)
    monkeypatch.setattr(sets, "load", lambda name, device: tuple(half.to(device) for half in halves))


class Oracle(torch.nn.Module):
    """Knows every picture's class by heart."""

    def __init__(self):
        super().__init__()
        self.answers = {
            image.tobytes(): label
            for half in sets.load("shapes", "cpu")
            for image, label in zip(half.images.numpy(), half.labels.tolist())
        }

    def forward(self, x):
        pictures = (255 * x).round().byte().contiguous(memory_format=torch.contiguous_format).numpy()
        return torch.eye(8)[[self.answers[picture.tobytes()] for picture in pictures]]


def test_the_clock_runs_and_the_entry_sees_no_label(tmp_path):
    seen = []

    def entry(images):
        seen.append(images)
        return Oracle()

    log = speedrun.race(entry, "shapes", team="Know-all & Co", folder=tmp_path, temperature=0.1)
    (images,) = seen
    assert isinstance(images, ImageSet) and images.labels.unique().tolist() == [-1]
    assert images.factors == {} and images.classes == []
    assert log["knn"] == 1 and log["reached"] and log["seconds"] > 0 and log["settings"] == {"temperature": 0.1}
    written = json.loads((tmp_path / "shapes-know-all-co.json").read_text())
    assert written["team"] == "Know-all & Co" and written["knn"] == 1 and written["target"] == 0.3


def test_a_real_entry_and_one_that_learns_nothing(tmp_path):
    options = dict(epochs=25, batch_size=64, views=views.shapes_views(), show_progress=False)
    simclr = speedrun.simclr(lambda: ConvNet(8), temperature=0.1, **options)
    first = speedrun.race(simclr, "shapes", team="SimCLR", folder=tmp_path)
    second = speedrun.race(lambda images: ConvNet(8), "shapes", team="nobody", folder=tmp_path)
    assert first["reached"] and first["knn"] > second["knn"] and not second["reached"]


def test_the_board_puts_who_arrived_first_and_the_rest_by_how_far_they_came(tmp_path):
    for team, seconds, knn in (("a", 9, 0.5), ("b", 3, 0.4), ("c", 1, 0.1), ("d", 2, 0.2)):
        machine = {"gpu": None, "cpu": "x", "threads": 2}
        log = dict(team=team, seconds=seconds, knn=knn, reached=knn >= 0.3, machine=machine)
        (tmp_path / f"shapes-{team}.json").write_text(json.dumps(log))
    rows = speedrun.board(tmp_path, "shapes")
    assert [(row["place"], row["team"]) for row in rows] == [("1", "b"), ("2", "a"), ("", "d"), ("", "c")]
    assert speedrun.board(tmp_path, "cifar10") == []


def test_one_malformed_hand_in_stops_nobody_and_a_lie_is_not_believed(tmp_path):
    good = dict(team="good", seconds=9, knn=0.5, reached=True, machine={"gpu": None, "cpu": "x", "threads": 2})
    cheat = good | dict(team="cheat", seconds=1, knn=0.01, reached=True)
    wrong = dict(
        cut='{"team": "cut", "sec', page="<html>", list="[]", number="3", empty="", deep="[" * 100_000,
        nothing={}, before=good | {"seconds": -1}, never=good | {"seconds": float("nan")}, much=good | {"knn": 7},
        words=good | {"seconds": "fast"}, where=good | {"machine": 3}, other=good | {"track": "cifar10"},
    )  # fmt: skip
    for name, log in (wrong | dict(a=good, b=cheat)).items():
        (tmp_path / f"shapes-{name}.json").write_text(log if isinstance(log, str) else json.dumps(log))
    (tmp_path / "shapes-binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(UserWarning, match="is left out, it is no log of a race") as caught:
        rows = speedrun.board(tmp_path, "shapes")
    assert [(row["place"], row["team"]) for row in rows] == [("1", "good"), ("", "cheat")]
    named = {str(warning.message).split()[0] for warning in caught}
    assert named == {f"shapes-{name}.json" for name in (*wrong, "binary")}
    assert any("shapes-nothing.json" in str(w.message) and "'seconds' is missing" in str(w.message) for w in caught)


def test_a_race_is_not_lost_to_what_comes_after_it(tmp_path, monkeypatch):
    """No folder to write to shows before the race; no git, and settings that JSON has no form for, do not matter."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        speedrun.race(lambda images: pytest.fail("it ran"), "shapes", team="a", folder=tmp_path / "file")
    monkeypatch.setenv("PATH", str(tmp_path))
    speedrun.race(lambda images: Oracle(), "shapes", team="a", folder=tmp_path / "new", make=ConvNet, rate=float("inf"))
    assert json.loads((tmp_path / "new/shapes-a.json").read_text())["settings"]["rate"] is None
    assert speedrun.board(tmp_path / "new", "shapes")[0]["place"] == "1"


@pytest.mark.parametrize(
    ("entry", "track", "team", "message"),
    [
        (lambda images: ConvNet(2), "imagenet", "a", "track must be one of shapes, cifar10, got 'imagenet'"),
        (lambda images: ConvNet(2), "shapes", "??", "team is a name with letters or digits"),
        (lambda images: None, "shapes", "a", "returns its trained encoder, a module; got NoneType"),
    ],
)
def test_refuses_nonsense(entry, track, team, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        speedrun.race(entry, track, team=team, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_ladder_goes_down_until_it_misses_or_up_until_it_reaches(monkeypatch):
    module, needs = import_module("speedrun"), {"a": 25, "b": 12, "c": 15, "d": 99}
    monkeypatch.setattr(module.speedrun, "simclr", lambda epochs, **options: epochs)

    def race(entry, track, *, team, **options):
        return dict(seconds=1.0, knn=0.5, reached=entry >= needs[team])

    monkeypatch.setattr(module.speedrun, "race", race)
    monkeypatch.setitem(module.TRACKS, "shapes", ((40, 30, 20, 12, 10), {}, {trick: {} for trick in needs}))
    known = {("b", 20): dict(trick="b", epochs=20, reached=True, known=True)}
    rows = list(module.climb("shapes", seed=0, small=False, known=known))
    assert [(row["trick"], row["epochs"]) for row in rows] == [
        ("a", 40), ("a", 30), ("a", 20),
        ("b", 30), ("b", 20), ("b", 12), ("b", 10),
        ("c", 12), ("c", 20),
        ("d", 20), ("d", 30), ("d", 40),
    ]  # fmt: skip
    assert [row["trick"] for row in rows if "known" in row] == ["b"]


@pytest.mark.parametrize("track", speedrun.TRACKS)
def test_every_rung_of_the_ladders_can_be_trained(track, monkeypatch):
    module = import_module("speedrun")
    epochs, options, tricks = module.TRACKS[track]
    assert track in speedrun.TRACKS and list(epochs) == sorted(epochs, reverse=True)
    for change in tricks.values():
        options = options | change | dict(make_encoder=lambda: ConvNet(2), compile=False, batch_size=64)
        entry = speedrun.simclr(**options, epochs=1, show_progress=False)
        assert speedrun.race(entry, "shapes", team="a", folder=None)["seconds"] > 0
