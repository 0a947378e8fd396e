"""The commands under torchrun: two processes, one result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "cannon_fx"]
ALONE = [sys.executable, "-m", "cannon_fx"]
OPTIMIZE = ["optimize", "--epochs", "2", "--dense-epochs", "1", "--batch-size", "256", "--methods", "cannon"]
OPTIMIZE += ["--learning-rate", "0.005", "--checkpoint-seconds", "0"]


def run(folder: Path, *words: str) -> str:
    """What it says on stderr; it must succeed."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stderr


def children(process: int) -> list[int]:
    """Of torchrun: the processes of the run."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    for row in [*found["history"], *found["methods"].values()]:
        del row["seconds"]
    return found


def test_optimize_killed_and_resumed(tmp_path: Path) -> None:
    """Bit-equal to the run that was not killed, and near the one of a single process."""
    run(tmp_path, *TORCHRUN, *OPTIMIZE, "--out", "straight")
    killed = subprocess.Popen([*TORCHRUN, *OPTIMIZE, "--out", "killed"], cwd=tmp_path)
    while not (tmp_path / "killed" / "checkpoint.pt").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    for process in (killed.pid, *children(killed.pid)):
        os.kill(process, signal.SIGKILL)
    killed.wait()
    run(tmp_path, *TORCHRUN, *OPTIMIZE, "--out", "killed", "--resume")
    run(tmp_path, *ALONE, *OPTIMIZE, "--out", "alone")
    straight, resumed, alone = (report(tmp_path / name) for name in ("straight", "killed", "alone"))
    assert straight["command"].startswith("torchrun --nproc-per-node 2 -m cannon_fx optimize")
    assert straight["device"].endswith("2 processes")
    assert straight["history"] == resumed["history"]
    assert straight["methods"] == resumed["methods"]
    weights = [
        safetensors.torch.load_file(tmp_path / n / "weights.safetensors") for n in ("straight", "killed", "alone")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    # Roundings in float32 grow from step to step; test_ranks.py compares whole trainings in float64.
    assert straight["history"][0]["loss"] == pytest.approx(alone["history"][0]["loss"], rel=1e-5)
    energies = [found["methods"]["cannon"]["energy_pj"] for found in (straight, alone)]
    assert energies[0] == pytest.approx(energies[1], rel=0.03)


def test_compare_and_a_mistake(tmp_path: Path) -> None:
    words = ["compare", "--methods", "dense", "block-magnitude", "--budgets", "energy/2", "energy/900"]
    words += ["--order", "snake", "--dense-epochs", "2", "--epochs", "2", "--batch-size", "400", "--out", "here"]
    run(tmp_path, *TORCHRUN, *words)
    record = json.loads((tmp_path / "here" / "compare.json").read_text())
    assert [row["method"] for row in record["runs"]] == ["dense", "block-magnitude"]
    assert len(record["refused"]) == 1
    wrong = subprocess.run([*TORCHRUN, "optimize", "--device", "cuda:1"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode != 0
    assert "torchrun gives every process its own: write 'cuda'" in wrong.stderr
