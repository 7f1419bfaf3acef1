import json
import os

import torch

from sslbook import results


def test_a_log_says_what_ran_where(tmp_path, monkeypatch):
    path = results.write(tmp_path / "results/run.json", config={"epochs": 3}, seed=1)
    log = json.loads(path.read_text())
    assert log["config"] == {"epochs": 3} and log["seed"] == 1
    assert log["machine"]["torch"] == torch.__version__ and log["machine"]["cores"] == os.cpu_count()
    assert log["peak_memory_mib"] > 50 and log["date"].endswith("+00:00") and "commit" in log
    assert os.listdir(path.parent) == ["run.json"]
    below = tmp_path / "book/part"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert results.read("run") == log, "found from a notebook's folder"
    assert results.read("no-such-run") is None


def test_the_repository_s_logs_are_complete():
    folder = results.Path(__file__).parents[1] / "results"
    logs = sorted(folder.glob("*.json"))
    assert logs
    for path in logs:
        log = json.loads(path.read_text())
        missing = {"config", "seed", "date", "commit", "machine", "peak_memory_mib", "minutes"} - log.keys()
        assert not missing, f"{path.name} lacks {missing}"
