"""How long does one wait for the command line? Medians of whole processes, interpreter and imports included.

python benchmarks/cli.py [--repeats 3] [--out benchmarks/results/cli.json]

Of `cannon sweep` most is importing torch and torch.export's tracer; the sweep itself is timed alone, too.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text

CANNON = ("-m", "cannon_fx.cli")

SWEEP = """
import time
from cannon_fx.capture import capture
from cannon_fx.hw.chip import Chip
from cannon_fx.networks import resnet18
from cannon_fx.sweep.axes import Axis
from cannon_fx.sweep.points import rows_of
import torch
model, chip = resnet18(), Chip.load("siam-32nm")
exported = capture(model, torch.zeros(1, 3, 224, 224))
axes = [Axis.parse(wish, chip) for wish in ("link_mm=0.5:2:100", "router_pj_per_flit=0.5:2:100")]
begin = time.perf_counter()
assert len(list(rows_of(model, exported, chip, axes))) == 10_000
print(time.perf_counter() - begin)
"""
"""A sweep of a captured network, mapping included; prints its seconds."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "cannon --help": (*CANNON, "--help"),
    "cannon optimize --help": (*CANNON, "optimize", "--help"),
    "import torch": ("-c", "import torch"),
    "import torch, cannon_fx": ("-c", "import torch, cannon_fx"),
    "import torch.export's tracer": ("-c", "import torch.export._trace"),
    "cannon sweep, 1 point": (*CANNON, "sweep", "--vary", "link_mm=1"),
    "cannon sweep, 10,000 points": (*CANNON, "sweep", "--vary", "link_mm=0.5:2:100", "router_pj_per_flit=0.5:2:100"),
    "sweep of 10,000 points alone, ResNet-18": ("-c", SWEEP),
}

FIGURES: dict[str, tuple[str, str | None, float]] = {
    "cannon --help": ("cannon --help", None, 0.5),
    "import cannon_fx beyond torch": ("import torch, cannon_fx", "import torch", 0.3),
    "sweep of 10,000 points alone": ("sweep of 10,000 points alone, ResNet-18", None, 2.0),
    "cannon sweep, 10,000 points beyond 1": ("cannon sweep, 10,000 points", "cannon sweep, 1 point", 2.0),
}
"""What is promised: a command, less another, in seconds."""


@dataclass(frozen=True)
class Options:
    """Commands take turns, so that a machine that slows down slows all of them."""

    repeats: int = 3
    out: Path = Path(__file__).parent / "results" / "cli.json"


def seconds(words: tuple[str, ...]) -> float:
    """Of one process; of `SWEEP`, those that it prints."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return float(done.stdout) if words[-1] == SWEEP else time.perf_counter() - begin


def main(options: Options) -> None:
    for words in COMMANDS.values():  # compiled code and the disk's cache are there from now on
        seconds(words)
    runs: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(options.repeats):
        for name, words in COMMANDS.items():
            runs[name].append(seconds(words))
    median = {name: statistics.median(times) for name, times in runs.items()}
    table = Table("process", "median s", "slowest s")
    for name, times in runs.items():
        table.add_row(name, f"{median[name]:.3f}", f"{max(times):.3f}")
    promised = Table("figure", "s", "at most")
    figures = {}
    for name, (command, less, limit) in FIGURES.items():
        found = median[command] - (median[less] if less else 0.0)
        figures[name] = {"seconds": found, "at_most": limit}
        promised.add_row(name, f"{found:.3f}", f"{limit:g}")
    Console().print(table, promised)
    result = {
        "schema": 1,
        "command": f"python benchmarks/cli.py --repeats {options.repeats}",
        "device": f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}",
        "figures": figures,
        "runs": runs,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
