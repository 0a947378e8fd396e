"""How long does plan() take, and how much memory, on ResNet-18 at 224x224? Beside torch.export alone, in one run.

python benchmarks/planning.py [--repeats 5] [--out benchmarks/results/planning.json]
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console

from cannon_fx import plan
from cannon_fx.atomic import atomic_write_text
from cannon_fx.networks import resnet18


@dataclass(frozen=True)
class Options:
    """Every repeat is a fresh process, so that nothing is cached and peak memory is its own."""

    repeats: int = 5
    out: Path = Path(__file__).parent / "results" / "planning.json"
    one: bool = False
    """one repeat, in this process (used by the benchmark itself)"""


def one_repeat() -> dict[str, float]:
    """Seconds of a process's first plan(), then of torch.export alone, of plan() again, and of one cost evaluation."""
    model, image = resnet18().eval(), torch.zeros(1, 3, 224, 224)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    found = plan(model, image)
    first_plan = time.perf_counter() - begin
    memory_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024

    begin = time.perf_counter()
    torch.export.export(model, (image,), strict=False)
    export = time.perf_counter() - begin
    begin = time.perf_counter()
    plan(model, image)
    second_plan = time.perf_counter() - begin
    begin = time.perf_counter()
    found.cost()
    return {
        "first_plan_seconds": first_plan,
        "warm_export_seconds": export,
        "warm_plan_seconds": second_plan,
        "warm_plan_over_export": second_plan / export,
        "cost_seconds": time.perf_counter() - begin,
        "peak_memory_above_model_mb": memory_mb,
    }


def main(options: Options) -> None:
    if options.one:
        sys.stdout.write(json.dumps(one_repeat()))
        return
    runs = [
        json.loads(subprocess.run([sys.executable, __file__, "--one"], check=True, capture_output=True).stdout)
        for _ in range(options.repeats)
    ]
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    Console().print("ResNet-18, 224x224, siam-32nm; median of", options.repeats, "processes:", median)
    result = {
        "schema": 1,
        "command": f"python benchmarks/planning.py --repeats {options.repeats}",
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "torch": torch.__version__,
        "median": median,
        "runs": runs,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
