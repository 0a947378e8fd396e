"""What does the retraining cost beside plain training? ResNet-18 for CIFAR, batch 128: time and memory of a step.

python benchmarks/overhead.py [--steps 3] [--out benchmarks/results/overhead.json]

Plain steps, steps of the descent and steps of the fine-tuning take turns in one process. Memory is the peak of a
process of its own for each. An update is what a step costs more when masks, prices and strength are decided anew.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import nn

from cannon_fx import apply_cannon
from cannon_fx.atomic import atomic_write_text
from cannon_fx.networks_cifar import resnet18

Phase = Literal["plain", "descent", "fine-tune"]
PHASES: tuple[Phase, ...] = ("plain", "descent", "fine-tune")
DESCENT = 100_000
"""Steps of the descent: so many that none of the measured ones has an update."""

Step = Callable[[], float]


@dataclass(frozen=True)
class Options:
    steps: int = 3
    batch: int = 128
    updates: int = 5
    out: Path = Path(__file__).parent / "results" / "overhead.json"
    memory_of: Phase | None = None
    """two steps of this phase, and this process's peak memory (used by the benchmark itself)"""


def stepper(phase: Phase, batch: int) -> tuple[Step, Step | None]:
    """One step, of which it returns the seconds; and an update's, of a descent. Both are in the middle of the phase."""
    torch.manual_seed(0)
    network = resnet18()
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    found = None if phase == "plain" else apply_cannon(network, x[:1])
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    control = found and found.set_budget("energy/3", DESCENT)

    def step() -> float:
        begin = time.perf_counter()
        loss = nn.functional.cross_entropy(network(x), y)
        if control:
            loss = loss + control.regularizer()
        loss.backward()
        optimizer.step()
        if control:
            control.step_(optimizer)
        loss.item()
        optimizer.zero_grad()
        return time.perf_counter() - begin

    def update() -> float:
        """The step_ of an update, less the one before it."""
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter) / 100
        seconds = []
        for before in (2, 1):
            control.step = DESCENT // 2 - before
            begin = time.perf_counter()
            control.step_(optimizer)
            seconds.append(time.perf_counter() - begin)
        optimizer.zero_grad()
        return seconds[1] - seconds[0]

    if control:
        update()
        if phase == "fine-tune":
            control.step = DESCENT
    return step, update if phase == "descent" else None


def peak_memory_mb(phase: Phase, batch: int) -> float:
    """Of a process of its own."""
    command = [sys.executable, __file__, "--memory-of", phase, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main(options: Options) -> None:
    if options.memory_of:
        step, _ = stepper(options.memory_of, options.batch)
        step(), step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    steps = {phase: stepper(phase, options.batch) for phase in PHASES}
    update = steps["descent"][1]
    assert update
    updates_ms = [1e3 * update() for _ in range(options.updates)]
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for turn in range(options.steps + 1):
        for phase in PHASES if turn % 2 else reversed(PHASES):
            taken = steps[phase][0]()
            if turn:  # the first warms up
                seconds[phase].append(taken)
    del steps
    rows: list[dict[str, Any]] = []
    for phase in PHASES:
        row: dict[str, Any] = {"phase": phase, "step_seconds": statistics.median(seconds[phase]), "all": seconds[phase]}
        row["peak_memory_mb"] = peak_memory_mb(phase, options.batch)
        plain = rows[0] if rows else row
        row["time_ratio"] = statistics.median(a / b for a, b in zip(seconds[phase], seconds["plain"], strict=True))
        row["memory_ratio"] = row["peak_memory_mb"] / plain["peak_memory_mb"]
        rows.append(row)
    table = Table("phase", "s per step", "of plain", "peak MB", "of plain", title="ResNet-18, 32x32")
    for row in rows:
        table.add_row(
            row["phase"],
            *(f"{row[key]:.3f}" for key in ("step_seconds", "time_ratio")),
            *(f"{row[key]:.3f}" for key in ("peak_memory_mb", "memory_ratio")),
        )
    Console().print(table, f"update of masks, prices and strength: {statistics.median(updates_ms):.1f} ms")
    result = {
        "schema": 1,
        "command": f"python benchmarks/overhead.py --steps {options.steps} --batch {options.batch}",
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "torch": torch.__version__,
        "rows": rows,
        "updates_ms": updates_ms,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
