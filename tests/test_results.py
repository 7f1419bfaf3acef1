import builtins
import importlib.metadata
import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch

from sslbook import results


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with four logs, and us in a notebook's folder of it."""
    (tmp_path / "_config.yml").touch()
    for seed, knn in ((1, 0.5), (0, 0.7)):
        report, cost = {"kNN": knn, "linear": 0.9}, {"cpu_minutes": 1 + seed, "training_memory_mib": 1000 + 100 * seed}
        path = tmp_path / f"results/cpu/random-encoder-{seed}.json"
        results.write(path, config={}, seed=seed, report=report, **cost)
    report = {"kNN": 0.8, "linear": 1.0, "fine-tuned, 10 % of labels": 0.9}
    results.write(tmp_path / "results/cpu/simclr-0.json", config={"epochs": 3}, seed=0, report=report, cpu_minutes=2)
    results.write(tmp_path / "results/cpu/simclr-other-0.json", seed=0)
    (tmp_path / "book/part").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "book/part")
    return tmp_path


def test_a_log_says_what_ran_where(checkout):
    path = checkout / "results/cpu/simclr-0.json"
    log = json.loads(path.read_text())
    assert log["config"] == {"epochs": 3} and log["seed"] == 0
    assert log["machine"]["torch"] == torch.__version__ and log["machine"]["cores"] == os.cpu_count()
    assert log["peak_memory_mib"] > 50 and log["date"].endswith("+00:00") and "commit" in log
    assert not list(checkout.glob("results/**/*.part"))


def git(folder, *command):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *who, *command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """We stand in a repository that is not this one: its commit."""
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "foreign")
    monkeypatch.chdir(tmp_path)
    return git(tmp_path, "rev-parse", "HEAD")


def test_the_commit_is_that_of_the_package_wherever_we_stand(foreign):
    commit = json.loads(results.write("log.json").read_text())["commit"]
    here = Path(results.__file__).parents[1]
    assert commit.split("-")[0] in git(here, "rev-parse", "HEAD") and not foreign.startswith(commit[:7])


def test_new_logs_do_not_make_the_commit_dirty_and_changed_code_does(tmp_path, monkeypatch):
    (tmp_path / "sslbook").mkdir()
    (tmp_path / "results").mkdir()
    code, log = tmp_path / "sslbook/results.py", tmp_path / "results/a.json"
    for file in (code, log):
        file.write_text("old")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    monkeypatch.setattr(results, "__file__", str(code))
    log.write_text("new")
    assert results.commit() == git(tmp_path, "rev-parse", "--short", "HEAD").strip()
    code.write_text("new")
    assert results.commit().endswith("-dirty")


def test_an_installed_package_has_the_commit_that_pip_noted_or_none(foreign, tmp_path, monkeypatch):
    """In a virtual environment below somebody else's repository, and without a word from it."""
    (tmp_path / "env/sslbook").mkdir(parents=True)
    monkeypatch.setattr(results, "__file__", str(tmp_path / "env/sslbook/results.py"))
    noted = {"url": "https://github.com/x/y", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}
    for text, commit in ((json.dumps(noted), "012345678"), ('{"url": "file:///x"}', None), (None, None)):
        package = type("Distribution", (), {"read_text": lambda self, name, text=text: text})
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name, package=package: package())
        assert results.commit() == commit


def test_a_machine_without_git_or_resource_writes_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    imported = builtins.__import__

    def without(name, *more, **options):
        if name == "resource":  # Windows
            raise ModuleNotFoundError(name)
        return imported(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    log = json.loads(results.write(tmp_path / "log.json", method="x", budget="cpu", seed=0, minutes=1.0).read_text())
    assert log["commit"] is None and log["peak_memory_mib"] is None
    assert "MiB" not in results.describe(log | {"config": {}})


def test_a_log_is_json_for_everybody(tmp_path):
    entries = dict(
        report={"kNN": math.nan, "linear": [1.0, -math.inf]}, settings={"encoder": torch.nn.ReLU(), "k": (1, 2)}
    )
    text = results.write(tmp_path / "log.json", **entries).read_text()

    def refuse(constant):
        raise AssertionError(constant)

    log = json.loads(text, parse_constant=refuse)
    assert log["report"] == {"kNN": None, "linear": [1.0, None]} and log["settings"] == {
        "encoder": "ReLU()",
        "k": [1, 2],
    }


def test_logs_are_found_from_a_notebook_by_seed(checkout):
    assert [log["seed"] for log in results.read("cpu", "random encoder")] == [0, 1]
    assert results.read("cpu", "MoCo") == results.read("gpu", "SimCLR") == []


def test_a_log_in_one_line():
    log = {"method": "random encoder", "budget": "cpu", "seed": 3, "config": {"epochs": 7}, "minutes": 1.25}
    log |= {"machine": {"gpu": None, "threads": 2}, "peak_memory_mib": 1234, "date": "2026-11-24T10:00:00+00:00"}
    line = results.describe(log)
    assert "random encoder, seed 3, 7 epochs: 1.2 minutes on a CPU (2 threads), 1,234 MiB, 2026-11-24" in line
    assert line.endswith('python experiments/train.py "random encoder" --budget cpu --seed 3')


def test_rows_are_means_over_seeds(checkout):
    table = results.rows("cpu", ["random encoder", "MoCo", "SimCLR"])
    assert table == [
        {"encoder": "random encoder", "kNN": pytest.approx(0.6), "linear": pytest.approx(0.9)},
        {"encoder": "SimCLR", "kNN": 0.8, "linear": 1.0},
    ]


def test_a_comparison_says_how_far_seeds_differ(checkout):
    rows = results.comparison("cpu", ["random encoder", "MoCo", "SimCLR"])
    assert [row["seeds"] for row in rows] == ["2", "1"]
    assert rows[0]["kNN"] == "0.600 ± 0.141" and rows[1]["kNN"] == "0.800"
    assert rows[0]["CPU-minutes"] == "1.5" and rows[0]["memory, MiB"] == "1,100"


def test_the_repository_s_logs_are_complete():
    logs = sorted(p for p in results.folder().glob("*/*.json") if p.parent.name != "studies")
    assert logs
    for path in logs:
        log = json.loads(path.read_text())
        missing = {"config", "seed", "date", "commit", "machine", "peak_memory_mib", "minutes", "report"} - log.keys()
        assert not missing, f"{path.name} lacks {missing}"
        name = log["method"].lower().replace(" ", "-")
        assert path.relative_to(results.folder()).as_posix() == f"{log['budget']}/{name}-{log['seed']}.json"


def test_a_study_of_several_seeds_is_read_in_their_order(checkout):
    for seed in (2, 10, 0):
        rows = [dict(seed=seed, labels=n, rival=rival, accuracy=seed + n) for n in (16, 40) for rival in ("a", "b")]
        results.write(checkout / f"results/studies/labels-cpu-{seed}.json", seed=seed, rows=rows)
        asked = dict(kNN=0.1 * seed, factors=dict(hue=0.5, x=float(seed)))
        rows = [dict(run="complete", h=asked, z=asked | dict(kNN=0.9))]
        results.write(checkout / f"results/studies/operations-{seed}.json", seed=seed, rows=rows)
    assert [log["seed"] for log in results.studies("operations")] == [0, 2, 10]
    assert results.label_curve("cpu") == {rival: {16: [16, 18, 26], 40: [40, 42, 50]} for rival in ("a", "b")}
    assert results.operations("h") == {"complete": {"kNN": [0.0, 0.2, 1.0], "hue": [0.5] * 3, "x": [0.0, 2.0, 10.0]}}
    assert results.operations("z")["complete"]["kNN"] == [0.9] * 3
    with pytest.raises(FileNotFoundError, match="labels-gpu-0"):
        results.label_curve("gpu")


def test_the_repository_s_studies_are_complete():
    for path in results.folder().glob("studies/*.json"):
        log = results.study(path.stem)
        missing = {"rows", "seed", "date", "commit", "machine", "minutes", "again"} - log.keys()
        assert not missing, f"{path.name} lacks {missing}"
        assert all(log["rows"][0].keys() == row.keys() for row in log["rows"])


def test_a_study_goes_on_from_its_log_and_adds_its_time(tmp_path, monkeypatch):
    (tmp_path / "results/studies").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "folder", lambda: tmp_path / "results")
    results.Study("dry", dry=True).add({"x": 1})
    assert not list(tmp_path.glob("results/studies/*"))
    results.Study("s", seed=3).add({"x": 1})
    before = results.study("s")
    again = results.Study("s", seed=3)
    assert again.has(x=1) and not again.has(x=2) and not again.has(x=1.5)
    again.add({"x": 2})
    log = results.study("s")
    assert log["rows"] == [{"x": 1}, {"x": 2}] and log["seed"] == 3
    assert log["minutes"] > before["minutes"] > 0 and log["cpu_minutes"] >= before["cpu_minutes"]
    assert results.Study("s", keep=False).rows == []
    again.add({"x": 3, "y": 4})
    assert results.study("s")["rows"] == [{"x": 1, "y": None}, {"x": 2, "y": None}, {"x": 3, "y": 4}]
