"""What does knowing the cost of a connection buy? The demo on several seeds: dense, cost-blind, cannon.

python benchmarks/digits.py [--seeds 5] [--epochs 40] [--budget energy/3] [--out benchmarks/results/digits.json]
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.commands.optimize import Optimize
from cannon_fx.run import Run

COSTS = ("energy_pj", "latency_cycles", "edp_pj_cycles")


@dataclass(frozen=True)
class Options:
    """The demo's defaults, several times."""

    seeds: int = 5
    epochs: int = Optimize.epochs
    budget: str = Optimize.budget
    out: Path = Path(__file__).parent / "results" / "digits.json"


def mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def main(options: Options) -> None:
    console, config = Console(), Optimize(epochs=options.epochs, budget=options.budget).config()
    records: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        records.append(Run(replace(config, seed=seed), "").execute())
        shown = {name: f"{m['accuracy']:.2%}" for name, m in records[-1]["methods"].items()}
        console.print(f"seed {seed}: {shown} in {records[-1]['seconds']:.0f} s")

    names = list(records[0]["methods"])
    table = Table("method", "accuracy, mean ± std (%)", "energy", "latency", "EDP", title="reduction against dense")
    summary: dict[str, Any] = {}
    for name in names:
        accuracy = [record["methods"][name]["accuracy"] for record in records]
        below = [statistics.fmean(r["methods"]["dense"][c] / r["methods"][name][c] for r in records) for c in COSTS]
        mean, spread = mean_and_spread(accuracy)
        table.add_row(name, f"{100 * mean:.2f} ± {100 * spread:.2f}", *(f"{ratio:.2f}x" for ratio in below))
        summary[name] = {"accuracy": accuracy, "accuracy_mean": mean, "accuracy_std": spread}
        summary[name] |= {cost: [record["methods"][name][cost] for record in records] for cost in COSTS}
    console.print(table)
    for other in ("dense", "cost-blind"):
        gap = [100 * (r["methods"]["cannon"]["accuracy"] - r["methods"][other]["accuracy"]) for r in records]
        mean, spread = mean_and_spread(gap)
        console.print(f"cannon - {other}: {mean:+.2f} points, std of the paired difference {spread:.2f}")
    result = {
        "schema": 1,
        "command": f"python benchmarks/digits.py --seeds {options.seeds} --epochs {options.epochs} "
        f"--budget {options.budget}",
        **{key: records[0][key] for key in ("network", "data", "budget", "device", "versions")},
        "chip": records[0]["chip"]["name"],
        "seconds": [record["seconds"] for record in records],
        "methods": summary,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
