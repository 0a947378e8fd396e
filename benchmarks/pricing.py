"""How long does pricing take? ResNet-50 on siam-32nm: the whole plan, one layer after a mask change, 100,000 chips.

python benchmarks/pricing.py [--repeats 20] [--out benchmarks/results/pricing.json]
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx import plan
from cannon_fx.atomic import atomic_write_text
from cannon_fx.cost import cost, layer_cost
from cannon_fx.hw.symbolic import constants_of, sweep
from cannon_fx.networks import resnet50


@dataclass(frozen=True)
class Options:
    repeats: int = 20
    out: Path = Path(__file__).parent / "results" / "pricing.json"


def timed(what: str, limit_ms: float | None, repeats: int, run: Callable[[], Any]) -> dict[str, Any]:
    """Median milliseconds once compiled, and what the issue asks for."""
    run()
    milliseconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    return {
        "what": what,
        "median_ms": round(statistics.median(milliseconds), 3),
        "slowest_ms": round(max(milliseconds), 3),
        "limit_ms": limit_ms,
    }


def main(options: Options) -> None:
    found = plan(resnet50(), torch.zeros(1, 3, 224, 224))
    keep = found.full()
    largest = max(found.layers, key=lambda layer: layer.groups * layer.column_blocks)
    half = np.random.default_rng(0).random(keep[largest.name].shape) < 0.5

    def whole() -> tuple[float, float]:
        priced = cost(found, keep)
        return priced.energy_pj, priced.latency_cycles

    def again() -> tuple[float, float]:
        priced = layer_cost(found, largest, half)
        return priced.energy_pj, priced.latency_cycles

    rng, chips = np.random.default_rng(0), 100_000
    formula, constants = found.energy_formula(), constants_of(found.chip)
    values = {
        "router_pj_per_flit": rng.random(chips),
        "link_mm": rng.random(chips),
        "flit_bits": rng.integers(8, 512, chips),
        "batch": rng.integers(1, 9, chips),
    }
    rows = [
        timed("whole plan: energy and analytic latency", 50, options.repeats, whole),
        timed(f"one layer after a mask change: {largest.name}", 10, options.repeats, again),
        timed("energy formula: building it", None, 3, found.energy_formula),
        timed("energy formula: 100,000 chips", 1000, 3, lambda: sweep(formula, constants, **values)),
    ]
    exact = float(sweep(formula, constants))
    assert abs(exact / whole()[0] - 1) < 1e-12, "the formula is not what the numbers say"
    table = Table("what", "median ms", "slowest ms", "at most")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(f"ResNet-50, 224x224, siam-32nm, {found.tiles} tiles", table)
    result = {
        "schema": 1,
        "command": "python benchmarks/pricing.py",
        "device": f"cpu, {platform.machine()}",
        "tiles": found.tiles,
        "rows": rows,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
