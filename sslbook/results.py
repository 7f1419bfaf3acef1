"""Logged runs: the numbers in tables and figures come from these files, and the files from the runs themselves."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


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


def peak_memory() -> int:
    """The most memory this process has held, in MiB: the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def write(path: str | os.PathLike, **entries: Any) -> Path:
    """Write a run's `entries` (config, seed, metrics, ...) as JSON, with date, commit, machine and peak memory."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    log = dict(
        entries, date=datetime.now(UTC).isoformat(timespec="seconds"), commit=commit.stdout.strip() or None,
        machine=machine(), peak_memory_mib=peak_memory(),
    )  # fmt: skip
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(log, indent=1) + "\n")
    part.replace(path)
    return path


def read(name: str) -> dict[str, Any] | None:
    """The log results/<name>.json of the checkout that holds the working folder or the package, else None."""
    for folder in (Path.cwd() / "here", Path(__file__).resolve()):
        for parent in folder.parents:
            path = parent / "results" / f"{name}.json"
            if path.is_file():
                return json.loads(path.read_text())
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
