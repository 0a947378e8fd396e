"""Which placement is cheapest, and how long does it take? Orders and optimisers on traffic of random networks.

python benchmarks/placement.py [--out benchmarks/results/placement.json]
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.hw import topologies
from cannon_fx.hw.assignment import faq, spectral
from cannon_fx.hw.grid import Grid
from cannon_fx.hw.hilbert import hilbert
from cannon_fx.hw.objective import Objective
from cannon_fx.hw.optimise import optimise

ROUTER_PJ, LINK_PJ = 1.0, 1.0
"""Only their ratio counts."""
LINK_WEIGHT = 100.0
"""pJ per cycle of the busiest link, in the last method."""
FAQ_RUNS = 3


@dataclass(frozen=True)
class Options:
    """Every tile count is a full square mesh; every seed a network of its own."""

    tiles: tuple[int, ...] = (256, 1024)
    seeds: tuple[int, ...] = (5, 2)
    """networks of each tile count"""
    out: Path = Path(__file__).parent / "results" / "placement.json"
    compile_only: bool = False
    """print the seconds of a process's first annealing (used by the benchmark itself)"""


def dnn_traffic(tiles: int, seed: int) -> np.ndarray:
    """Flits [tiles + 1, tiles + 1] of one inference of a random network, the port last.

    Layers of 1 to 8 row blocks and 1 to 8 column blocks, tiles numbered by column block. What a layer computes lies on
    the accumulating tiles of its column blocks (the middle ones). From there every kept connection of the next layer
    takes its channel group; the masks are random, of one density per network. Partial sums go to the accumulating tile,
    half of the layers add the output of the layer two before, and some quarter the positions.
    """
    rng = np.random.default_rng(seed)
    flits = np.zeros((tiles + 1, tiles + 1))
    density, positions, first = rng.uniform(0.2, 1.0), 4096, 0
    outputs = [np.array([tiles])]  # the tiles that hold each layer's output; the port holds the network's input
    while first < tiles:
        row_blocks, column_blocks = rng.integers(1, 9, 2)
        if row_blocks * column_blocks > tiles - first:
            row_blocks, column_blocks = 1, min(8, tiles - first)
        tile = first + np.arange(row_blocks * column_blocks).reshape(column_blocks, row_blocks).T
        accumulator, source = tile[row_blocks // 2], outputs[-1]
        groups = 4 * max(row_blocks, len(source))
        g, j = np.nonzero(rng.random((groups, column_blocks)) < density)
        target = tile[g * row_blocks // groups, j]
        np.add.at(flits, (source[g * len(source) // groups], target), 4 * positions)
        used = np.setdiff1d(target, accumulator)
        column = (used - first) // row_blocks
        flits[used, accumulator[column]] += 16 * positions
        if len(outputs) > 1 and rng.random() < 0.5:
            channel, skipped = np.arange(64), outputs[-2]
            ends = skipped[channel * len(skipped) // 64], accumulator[channel * column_blocks // 64]
            np.add.at(flits, ends, positions // 4)
        if rng.random() < 0.15:
            positions = max(positions // 4, 16)
        outputs.append(accumulator)
        first += tile.size
    return flits


def methods(edge: int, seed: int) -> dict[str, Callable[[Objective], np.ndarray]]:
    """Each takes the objective and returns a node for every tile; all optimisers start from the Hilbert order."""
    grid = np.arange(edge * edge).reshape(edge, edge)
    snake = grid.copy()
    snake[1::2] = snake[1::2, ::-1]
    curves = {"row-major": grid.ravel(), "snake": snake.ravel(), "hilbert": hilbert(Grid(edge, edge))}
    starts = {name: np.append(curve, edge * edge) for name, curve in curves.items()}
    start = starts["hilbert"]
    found: dict[str, Callable[[Objective], np.ndarray]] = {
        name: lambda _, nodes=nodes: nodes for name, nodes in starts.items()
    }
    # These two may be worse than their start; optimise() would then return the start.
    found["spectral"] = lambda objective: spectral(objective, start)
    found[f"faq, best of {FAQ_RUNS}"] = lambda objective: faq(objective, start, seed, FAQ_RUNS)
    found["annealed"] = lambda o: optimise(o.flits, o.cost, start, seed=seed).node
    found["annealed, busiest link too"] = lambda o: (
        optimise(o.flits, o.cost, start, network=o.network, link_weight=LINK_WEIGHT, seed=seed).node
    )
    return found


def measure(tiles: int, seed: int) -> list[dict[str, Any]]:
    edge = math.isqrt(tiles)
    network = topologies.mesh(edge, edge).with_node(0)
    nodes = np.arange(network.nodes)
    hops = network.hops(nodes[:, None], nodes)
    objective = Objective(dnn_traffic(tiles, seed), LINK_PJ * hops + ROUTER_PJ * (hops + 1), network)
    rows = []
    for name, method in methods(edge, seed).items():
        begin, cpu_begin = time.perf_counter(), time.process_time()
        node = method(objective)
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
        rows.append(
            {
                "tiles": tiles,
                "seed": seed,
                "pairs": int((objective.flits > 0).sum()),
                "method": name,
                "energy_pj": objective.energy(node),
                "busiest_link_cycles": float(objective.link_cycles(node).max()),
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds, 3),
            }
        )
    snake = next(row["energy_pj"] for row in rows if row["method"] == "snake")
    return [row | {"of_snake": round(row["energy_pj"] / snake, 4)} for row in rows]


def first_annealing() -> float:
    begin = time.perf_counter()
    optimise(dnn_traffic(4, 0), np.ones((5, 5)), np.arange(5), sweeps=0)
    return time.perf_counter() - begin


def compile_seconds() -> dict[str, float]:
    """A process's first annealing: with an empty cache, and with the cache that this leaves on disk."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, __file__, "--compile-only"],
                    check=True,
                    capture_output=True,
                    env=os.environ | {"NUMBA_CACHE_DIR": cache},
                ).stdout
            )
            for _ in range(2)
        ]
    return dict(zip(("compiling", "from_disk"), (round(s, 2) for s in seconds), strict=True))


def checks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What must hold, with the measured figures."""
    annealed = {(row["tiles"], row["seed"]): row for row in rows if row["method"] == "annealed"}
    scipys = {(row["tiles"], row["seed"]): row for row in rows if row["method"].startswith("faq")}
    ratios = [annealed[key]["energy_pj"] / scipys[key]["energy_pj"] for key in annealed]
    found: dict[str, Any] = {"worst_annealed_over_faq": round(max(ratios), 4)}
    for tiles in sorted({tiles for tiles, _ in annealed}):
        for unit in ("seconds", "cpu_seconds"):
            found[f"slowest_annealing_{tiles}_{unit}"] = max(
                row[unit] for (count, _), row in annealed.items() if count == tiles
            )
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    """`cpu_seconds` are what counts when other programs run beside: they do not include waiting for a core."""
    columns = (
        "tiles",
        "seed",
        "pairs",
        "method",
        "energy_pj",
        "of_snake",
        "busiest_link_cycles",
        "seconds",
        "cpu_seconds",
    )
    found = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        found.add_row(
            *(f"{row[c]:,.0f}" if c in ("energy_pj", "busiest_link_cycles") else str(row[c]) for c in columns)
        )
    return found


def main(options: Options) -> None:
    if options.compile_only:
        sys.stdout.write(f"{first_annealing()}\n")
        return
    compiling = compile_seconds()
    first_annealing()  # what is measured below is compiled
    rows = [
        row
        for tiles, seeds in zip(options.tiles, options.seeds, strict=True)
        for seed in range(seeds)
        for row in measure(tiles, seed)
    ]
    held = checks(rows)
    console = Console(width=120)
    console.print(table(rows), f"first annealing, seconds: {compiling}", f"must hold: {held}", sep="\n")
    result = {
        "schema": 1,
        "command": "python benchmarks/placement.py",
        "device": f"cpu, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: version(name) for name in ("numpy", "numba", "scipy")},
        "first_annealing_seconds": compiling,
        "must_hold": held,
        "rows": rows,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
