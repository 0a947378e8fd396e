"""What does the retraining cost beside plain training? ResNet-18 for CIFAR, batch 128, on siam-32nm.

python benchmarks/overhead.py [--parts memory time updates] [--steps 3] [--out benchmarks/results/overhead.json]

time: plain steps, steps of the descent and of the fine-tuning take turns in one process, in the order that turns round.
memory: the peak of a process that takes two steps, one process for each; the compiler and its packages count. What is
freed goes back at once (MALLOC_MMAP_THRESHOLD_), so that the peak is what is needed, not how glibc's heap is in pieces.
updates: what the descent's step costs more when masks, prices and penalty are decided anew, and when also the tiles are
(order snake; annealing would take longer).
Parts that are not measured stay in the file as they are.
"""

from __future__ import annotations

import json
import os
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
from cannon_fx.train.control import UPDATES

Phase = Literal["plain", "descent", "fine-tune"]
PHASES: tuple[Phase, ...] = ("plain", "descent", "fine-tune")
DESCENT = 100_000
"""Steps of the descent: so many that none of the measured ones has an update."""

Step = Callable[[], float]


Part = Literal["time", "memory", "updates"]


@dataclass(frozen=True)
class Options:
    parts: tuple[Part, ...] = ("memory", "time", "updates")
    """memory comes first: a process's peak counts from what its parent had"""
    steps: int = 3
    batch: int = 128
    updates: int = 9
    out: Path = Path(__file__).parent / "results" / "overhead.json"
    memory_of: Phase | None = None
    """this process's peak in two steps of a phase (used by the benchmark itself)"""


def stepper(phase: Phase, batch: int) -> tuple[Step, Callable[[int], float] | None]:
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

    def update(number: int) -> float:
        """The step_ of update `number`, less the one before it."""
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter) / 100
        seconds = []
        for before in (2, 1):
            control.step = number * (DESCENT // UPDATES) - before
            begin = time.perf_counter()
            control.step_(optimizer)
            seconds.append(time.perf_counter() - begin)
        optimizer.zero_grad()
        return seconds[1] - seconds[0]

    if control:
        update(UPDATES // 2)
        if phase == "fine-tune":
            control.step = DESCENT
    return step, update if phase == "descent" else None


def time_of_steps(options: Options) -> dict[str, Any]:
    """Seconds; the ratios are medians over turns."""
    steps = {phase: stepper(phase, options.batch)[0] for phase in PHASES}
    seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for turn in range(options.steps + 1):
        for phase in PHASES if turn % 2 else reversed(PHASES):
            taken = steps[phase]()
            if turn:  # the first warms up
                seconds[phase].append(taken)
    return {
        phase: {
            "step_seconds": seconds[phase],
            "of_plain": statistics.median(a / b for a, b in zip(seconds[phase], seconds["plain"], strict=True)),
        }
        for phase in PHASES
    }


def memory_of_steps(options: Options) -> dict[str, Any]:
    """MB, in a process for each phase."""
    peak_mb = {}
    for phase in PHASES:
        command = [sys.executable, __file__, "--memory-of", phase, "--batch", str(options.batch)]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        peak_mb[phase] = float(done.stdout.splitlines()[-1])
    return {phase: {"peak_mb": peak, "of_plain": peak / peak_mb["plain"]} for phase, peak in peak_mb.items()}


def time_of_updates(options: Options) -> dict[str, Any]:
    """Milliseconds, of updates one after another; every second one also maps anew."""
    update = stepper("descent", 1)[1]
    assert update
    first = UPDATES // 2 + 1
    taken = {number: 1e3 * update(number) for number in range(first, first + 2 * options.updates)}
    alone, mapping = ([ms for number, ms in taken.items() if number % 2 == odd] for odd in (1, 0))
    return {
        "update_ms": alone,
        "median_ms": statistics.median(alone),
        "mapping_ms": mapping,
        "mapping_median_ms": statistics.median(mapping),
    }


MEASURE: dict[Part, Callable[[Options], dict[str, Any]]] = {
    "time": time_of_steps,
    "memory": memory_of_steps,
    "updates": time_of_updates,
}


def show(found: dict[str, Any]) -> None:
    """As tables."""
    console = Console()
    for part in ("time", "memory"):
        if rows := found.get(part):
            names = [name for name in rows["plain"] if name != "step_seconds"]
            table = Table(part, *names)
            for phase in PHASES:
                table.add_row(phase, *(f"{rows[phase][name]:.3f}" for name in names))
            console.print(table)
    if "updates" in found:
        updates = found["updates"]
        console.print(
            f"an update of masks, prices and penalty: {updates['median_ms']:.1f} ms; one that maps anew: "
            f"{updates['mapping_median_ms']:.1f} ms"
        )


def main(options: Options) -> None:
    if options.memory_of:
        step, _ = stepper(options.memory_of, options.batch)
        step(), step()
        sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}")
        return
    found = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {"schema": 1}
    for part in options.parts:
        found[part] = MEASURE[part](options) | {
            "command": f"python benchmarks/overhead.py --parts {part} --steps {options.steps} --batch {options.batch}",
            "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
            "torch": torch.__version__,
        }
    show(found)
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
