"""Logged runs: the numbers in tables and figures come from these files, and the files from the runs themselves."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from sslbook.files import atomic


def machine() -> dict[str, Any]:
    """What this runs on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    names = [
        line.split(":")[1].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    return dict(
        cpu=names[0] if names else platform.processor() or platform.machine(), cores=os.cpu_count(), gpu=gpu,
        threads=torch.get_num_threads(), python=platform.python_version(), torch=torch.__version__,
    )  # fmt: skip


def peak_memory() -> int | None:
    """The most memory this process has held, in MiB: the GPU's where there is one; None where nobody counts it."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def commit() -> str | None:
    """The commit of the `sslbook` that runs, whatever repository the working folder lies in; None if nobody knows.

    "-dirty" says that the working tree differs from it. New logs in results/ do not count: one run writes them after
    the other, and none changes what the next one does.
    """
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        git = ["git", "-C", str(root)]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no git on this machine, or no commit yet
            head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
            changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", ":!results"], check=False).returncode
            return head.stdout.strip() + ("-dirty" if changed else "")
        return None
    with contextlib.suppress(OSError, ValueError, KeyError, importlib.metadata.PackageNotFoundError):
        origin = importlib.metadata.distribution("sslbook").read_text("direct_url.json")  # pip's note on a repository
        return json.loads(origin or "{}")["vcs_info"]["commit_id"][:9]
    return None


def write(path: str | os.PathLike, **entries: Any) -> Path:
    """Write a run's `entries` (config, seed, metrics, ...) as JSON, with date, commit, machine and peak memory.

    What JSON has no form for does not stop it: a number that is not finite becomes null, an object its `str`.
    """
    log = dict(
        entries, date=datetime.now(UTC).isoformat(timespec="seconds"), commit=commit(), machine=machine(),
        peak_memory_mib=peak_memory(),
    )  # fmt: skip
    with atomic(path) as file:
        file.write(f"{json.dumps(_finite(log), indent=1, allow_nan=False, default=str)}\n".encode())
    return Path(path)


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def folder() -> Path | None:
    """Where the logs lie: in the checkout that holds the working folder or the package, else beside the package."""
    parents = [*(Path.cwd() / "x").parents, *Path(__file__).resolve().parents[1:]]
    candidates = [*(p / "results" for p in parents if (p / "_config.yml").is_file()), Path(__file__).parent / "logs"]
    return next((path for path in candidates if path.is_dir()), None)


def read(budget: str, encoder: str) -> list[dict[str, Any]]:
    """The logs results/<budget>/<encoder>-<seed>.json, in the order of their seeds; [] if there are none."""
    found = folder()
    paths = found.glob(f"{budget}/{encoder.lower().replace(' ', '-')}-[0-9]*.json") if found else ()
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda log: log["seed"])


def study(name: str) -> dict[str, Any] | None:
    """The log of a study, results/studies/<name>.json: several runs and what they are to be compared in."""
    found = folder()
    path = found / f"studies/{name}.json" if found else None
    return json.loads(path.read_text()) if path and path.is_file() else None


class Study:
    """A study in the making, results/studies/<name>.json: its rows, and the time that all of them took.

    Args:
        name: of the file.
        keep: go on from the rows that the log holds, if there is one.
        dry: write nothing, and read nothing.
        about: the log's other entries, such as seed and the command that makes it again.
    """

    def __init__(self, name: str, *, keep: bool = True, dry: bool = False, **about: Any):
        log = study(name) if keep and not dry else None
        self.name, self.dry, self.about = name, dry, about
        self.rows = log["rows"] if log else []
        self.earlier = (log["minutes"], log["cpu_minutes"]) if log else (0, 0)
        self.start = time.perf_counter(), time.process_time()

    def has(self, **entries: Any) -> bool:
        """Whether a row with these entries is there already."""
        return any(all(row[name] == value for name, value in entries.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """One more row, written at once, so that a run that is stopped goes on after it."""
        self.rows.append(row)
        if not self.dry:
            self.write()

    def write(self) -> Path:
        """The log as it is now. All rows have the same keys: None stands where a row has no answer."""
        asked = list(dict.fromkeys(key for row in self.rows for key in row))
        rows = [{key: row.get(key) for key in asked} for row in self.rows]
        now = time.perf_counter(), time.process_time()
        minutes, cpu_minutes = (old + (t - start) / 60 for old, t, start in zip(self.earlier, now, self.start))
        path = f"results/studies/{self.name}.json"
        return write(path, rows=rows, minutes=minutes, cpu_minutes=cpu_minutes, **self.about)


def studies(name: str) -> list[dict[str, Any]]:
    """The logs of a study that has one for each seed, results/studies/<name>-<seed>.json, in the order of the seeds.

    Raises FileNotFoundError if there are none.
    """
    found = folder()
    paths = list(found.glob(f"studies/{name}-[0-9]*.json")) if found else []
    if not paths:
        raise FileNotFoundError(f"results/studies/{name}-0.json is not there: it lies in the book's repository")
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda log: log["seed"])


def label_curve(budget: str) -> dict[str, dict[int, list[float]]]:
    """{rival: {labels: accuracy of each seed}} from the logs of `experiments/labels.py`."""
    curve: dict[str, dict[int, list[float]]] = {}
    for log in studies(f"labels-{budget}"):
        for row in log["rows"]:
            curve.setdefault(row["rival"], {}).setdefault(row["labels"], []).append(row["accuracy"])
    return curve


def operations(place: str) -> dict[str, dict[str, list[float]]]:
    """{run: {question: answer of each seed}} from the logs of `experiments/operations.py`, asked of `place`, h or z.

    The questions are those of `evaluate.report`, and each factor's share of explained variance.
    """
    answers: dict[str, dict[str, list[float]]] = {}
    for log in studies("operations"):
        for row in log["rows"]:
            asked = {question: answer for question, answer in row[place].items() if question != "factors"}
            for question, answer in (asked | row[place]["factors"]).items():
                answers.setdefault(row["run"], {}).setdefault(question, []).append(answer)
    return answers


def describe(log: Mapping[str, Any]) -> str:
    """One line on a run: what, how long, where, when, and the command that does it again."""
    config, machine = log["config"], log["machine"]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    where = machine["gpu"] or f"a CPU ({threads})"
    settings = f", {config['epochs']} epochs" if "epochs" in config else ""
    again = f'python experiments/train.py "{log["method"]}" --budget {log["budget"]} --seed {log["seed"]}'
    memory = "" if log["peak_memory_mib"] is None else f"{log['peak_memory_mib']:,} MiB, "
    took = f"{log['minutes']:.1f} minutes on {where}, {memory}{log['date'][:10]}"
    return f"{log['method']}, seed {log['seed']}{settings}: {took}; {again}"


def rows(budget: str, encoders: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the growing table from the logs: the mean over the seeds of what `evaluate.report` said."""
    return [
        {"encoder": encoder} | {q: fmean(answers) for q, answers in _answers(logs).items() if "fine-tuned" not in q}
        for encoder in encoders
        if (logs := read(budget, encoder))
    ]


def _answers(logs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """What each log answered to the questions that all of them were asked."""
    reports = [log["report"] for log in logs]
    return {q: [report[q] for report in reports] for q in reports[0] if all(q in report for report in reports)}


def comparison(budget: str, encoders: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a comparison from the logs: how many seeds, "mean ± deviation" over them of each answer, what it cost."""
    table = []
    for encoder in encoders:
        logs = read(budget, encoder)
        if not logs:
            continue
        row = {"encoder": encoder, "seeds": str(len(logs))}
        for question, answers in _answers(logs).items():
            row[question] = f"{fmean(answers):.3f}" + (f" ± {stdev(answers):.3f}" if len(logs) > 1 else "")
        row["CPU-minutes"] = f"{fmean(log['cpu_minutes'] for log in logs):.1f}"
        memory = [log.get("training_memory_mib", log["peak_memory_mib"]) for log in logs]
        row["memory, MiB"] = f"{max(x for x in memory if x is not None):,}" if any(memory) else ""
        table.append(row)
    return table


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
