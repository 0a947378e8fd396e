"""How fast are the block-sparse kernels on this CPU? `cannon bench kernels` on every cell, kept, with plots.

python benchmarks/kernels.py [--seconds 0.5] [--out benchmarks/results/kernels_cpu.json]
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro

from cannon_fx.commands.bench import Bench

matplotlib.use("Agg")
from matplotlib import pyplot


@dataclass(frozen=True)
class Options:
    seconds: float = 0.5
    """of timing for each number"""
    out: Path = Path(__file__).parent / "results" / "kernels_cpu.json"
    """also .png beside it"""


def curves(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """(density, speed-up over dense) by shape, block and pass, of those measured at five densities and more."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["baseline"] != "torch BSR" and row["storage"] == "dense" and row["dtype"] == "float32":
            found[f"{row['shape']} x{row['batch']}, {row['block']}, {row['pass']}"].append(
                (row["density"], row["speedup"])
            )
    return {name: sorted(points) for name, points in found.items() if len(points) >= 5}


def break_even(points: list[tuple[float, float]]) -> float:
    """The density up to which a curve stays at or above 1, on lines between what was measured; 0 if nowhere."""
    density, speedup = np.array(points).T
    below = np.flatnonzero(speedup < 1)
    if len(below) == 0:
        return float(density[-1])
    first = below[0]
    if first == 0:
        return 0.0
    return float(np.interp(-1.0, -speedup[first - 1 : first + 1], density[first - 1 : first + 1]))


def main(options: Options) -> None:
    options.out.parent.mkdir(exist_ok=True)
    Bench("kernels", json=options.out, seconds=options.seconds).run()
    measured = curves(json.loads(options.out.read_text())["rows"])
    even = {name: break_even(points) for name, points in measured.items()}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(16, 7))
    for name, points in measured.items():
        left.plot(*zip(*points, strict=True), marker=".", label=name)
        print(f"break-even {even[name]:.2f}: {name}")
    left.axhline(1, color="grey", linewidth=0.5)
    left.set(xlabel="density", ylabel="speed-up over dense", yscale="log")
    left.legend(fontsize=6)
    right.barh(list(even), list(even.values()))
    right.set(xlabel="break-even density", xlim=(0, 1))
    right.tick_params(axis="y", labelsize=6)
    figure.tight_layout()
    figure.savefig(options.out.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
