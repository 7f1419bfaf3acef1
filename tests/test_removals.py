"""The reader of the logs of removed parts: who is called what, and what its numbers are called."""

import pytest

from sslbook import removals, results
from sslbook.patients import PATIENTS


def row(method, part, *, spread=1.0, rank=40.0, knn=0.6, linear=0.9):
    """A row of a log: a start that all share, and an end."""
    return dict(
        method=method,
        part=part,
        untrained=dict(kNN=0.2, linear=0.4),
        kNN=knn,
        linear=linear,
        spectrum=[0.1] * 8,
        curves=dict(loss=[5.0, 1.0], knn=[0.3, knn], spread=[0.99, 0.5, spread], RankMe=[97.0, 50.0, rank]),
    )


@pytest.fixture
def logs(monkeypatch):
    """Three healthy logs, by seed and then by (method, part)."""
    known = [{(m, part): row(m, part) for m in PATIENTS for part in PATIENTS[m]} for _ in removals.SEEDS]

    def study(name):
        return dict(rows=list(known[int(name[-1])].values()), minutes=9)

    monkeypatch.setattr(results, "study", study)
    return known


def spoil(logs, seeds, method, part, **end):
    for seed in seeds:
        logs[seed][method, part] = row(method, part, **end)


def test_names_and_values(logs):
    moco = removals.logged("MoCo")
    assert list(moco) == ["complete", "with m = 0", "with m = 0.9"]
    assert moco["with m = 0"].title == "MoCo v2 with m = 0" and moco["complete"].title == "MoCo v2, complete"
    whole = removals.logged("SimSiam")["complete"]
    assert whole.values("spread of z") == [1.0] * 3 and whole.untrained("RankMe of z") == [97.0] * 3
    assert whole.values("last loss") == [1.0] * 3 and whole.untrained("last loss") == []
    assert whole.curve("knn") == pytest.approx([0.2, 0.3, 0.6])
    assert whole.curve("loss") == [None, 5.0, 1.0] and whole.curve("spread") == [0.99, 0.5, 1.0]


def test_knn_is_interpolated_where_it_was_not_asked(logs):
    long = row("SimSiam", None)
    long["curves"] |= dict(loss=[1.0] * 17, knn=[0.4] * 7 + [0.5, 0.6])  # after 2, 4, ... 16 epochs, and after the last
    logs[0]["SimSiam", None] = long
    course = removals.logged("SimSiam")["complete"].curve("knn")
    assert course == pytest.approx([0.2, 0.3, *[0.4] * 13, 0.45, 0.5, 0.6])


@pytest.mark.parametrize(
    ("seeds", "end", "verdict"),
    [
        ((), {}, "no worse here"),
        ((0, 1, 2), dict(spread=0.24), "collapses"),
        ((0, 1, 2), dict(spread=0.26), "no worse here"),
        ((0, 1, 2), dict(rank=9.9), "collapses"),
        ((1,), dict(rank=9.9), "collapses in 1 of 3 seeds"),
        ((0, 1, 2), dict(knn=0.59), "hurts"),
        ((0, 1, 2), dict(linear=0.89), "hurts"),
        ((0, 2), dict(linear=0.1), "no worse here"),
        ((0, 1, 2), dict(rank=9.9, linear=0.1), "collapses"),
    ],
)
def test_the_verdict_is_that_of_the_rule(logs, seeds, end, verdict):
    spoil(logs, seeds, "SimSiam", "predictor", **end)
    patients = removals.logged("SimSiam")
    assert patients["without predictor"].verdict == verdict and patients["complete"].verdict == ""


def test_the_rule_asks_each_seed_against_its_own_control(logs):
    spoil(logs, (0,), "SimSiam", None, rank=100.0)
    spoil(logs, (0, 1, 2), "SimSiam", "predictor", rank=20.0)
    assert removals.logged("SimSiam")["without predictor"].fallen == [True, False, False]


def test_the_table_has_the_untrained_network_and_ranges(logs):
    spoil(logs, (1,), "SimSiam", None, linear=0.8, rank=10.0)
    first, second, *others = removals.table(removals.logged("SimSiam").values())
    assert first == {
        "run": "SimSiam, untrained", "last loss": "–", "spread of z": "0.99", "RankMe of z": "97.0", "kNN": "0.20",
        "linear": "0.40",
    }  # fmt: skip
    assert second["linear"] == "0.87 (0.80–0.90)" and second["RankMe of z"] == "30.0 (10.0–40.0)"
    assert [other["run"] for other in others][:2] == ["SimSiam without stop-gradient", "SimSiam without predictor"]
    assert len(others) == len(PATIENTS["SimSiam"]) - 1 and all("verdict" in other for other in others)


def test_a_log_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(results, "study", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"results/studies/collapse-0\.json is not there"):
        removals.logged("BYOL")
