"""How close is the analytic model to BookSim2 and to the flit simulator, and how fast is it?

python benchmarks/analytic.py [--out benchmarks/results/analytic.json]
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import booksim
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.hw.analytic import analytic_makespan, phase_makespans
from cannon_fx.hw.network import Network
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.topologies import chiplets, cmesh, mesh, ring, torus, tree
from cannon_fx.hw.traffic import Packets, synthetic

MESHES = ((4, 4), (5, 5), (8, 4), (6, 10), (8, 8), (12, 12), (16, 16))
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Options:
    """The first half of the seeds was looked at while the model was made, the second only reported."""

    cases: int = 480
    patterns: int = 210
    """cases of BookSim2's patterns, open and as bursts; all are only counted"""
    others: int = 40
    """cases on each network that is no mesh"""
    repeats: int = 5
    """of each timing; the fastest counts, since other programs only ever make it slower"""
    out: Path = Path(__file__).parent / "results" / "analytic.json"


def traces() -> list[dict[str, Any]]:
    rows = []
    for case in booksim.traces(booksim.reference()):
        theirs, ours = case.results["makespan"], analytic_makespan(case.packets, case.network, case.router)
        facts = {"case": case.name, "config": case.config, "booksim2": theirs, "analytic": round(ours, 1)}
        rows.append(facts | miss(ours, theirs))
    return rows


def miss(ours: float, theirs: float) -> dict[str, float]:
    return {"difference_percent": round(100 * (ours / theirs - 1), 2)}


def some_tiles(rng: np.random.Generator, columns: int, rows: int, most: int) -> Ints:
    """A run of neighbouring numbers, a rectangle, or tiles from anywhere."""
    nodes, number = columns * rows, min(int(rng.integers(1, most + 1)), columns * rows)
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(nodes - number + 1) + np.arange(number)
    if kind == 1:
        return rng.choice(nodes, number, replace=False)
    wide = min(max(1, int(number**0.5)), columns)
    high = min(max(1, number // wide), rows)
    corner = rng.integers(columns - wide + 1) + columns * rng.integers(rows - high + 1)
    return (corner + np.arange(wide) + columns * np.arange(high)[:, None]).ravel()


def some_pattern(rng: np.random.Generator, family: str, nodes: int, length: int) -> Packets:
    """BookSim2's patterns at a steady rate, from idle to far beyond saturation, or as one burst."""
    name, _, kind = family.rpartition(" ")
    cycles, rate = int(rng.integers(300, 2000) * min(1, 64 / nodes)), rng.uniform(0.02, 0.35)
    open_ = synthetic(name, nodes, rate, length, cycles, int(rng.integers(1 << 30)))
    return open_ if kind == "rate" else Packets(0 * open_.time, open_.source, open_.target, open_.flits)


def some_packets(rng: np.random.Generator, family: str, columns: int, rows: int, length: int) -> Packets:
    if family in PATTERNS:
        return some_pattern(rng, family, columns * rows, length)
    nodes, budget = columns * rows, int(rng.integers(2000, 12000))

    def groups(sources: int, targets: int, kept: float = 1.0, even: bool = True) -> Ints:
        flits = np.zeros((nodes, nodes), np.int64)
        pairs = np.ix_(some_tiles(rng, columns, rows, sources), some_tiles(rng, columns, rows, targets))
        shape = flits[pairs].shape
        volume = budget / (shape[0] * shape[1] * kept)
        flits[pairs] = np.ceil(np.full(shape, volume) if even else rng.exponential(volume, shape)) * (
            rng.random(shape) < kept
        )
        np.fill_diagonal(flits, 0)
        return flits

    if family == "uniform burst":
        count = budget // length
        return Packets(np.zeros(count, np.int64), *rng.integers(0, nodes, (2, count)), np.full(count, length))
    if family == "uniform rate":
        cycles = max(100, 5 * budget // nodes)
        return synthetic("uniform", nodes, rng.uniform(0.01, 0.25), length, cycles, int(rng.integers(1 << 30)))
    if family == "paced":
        interval = int(rng.integers(2, 40))
        parts = [Packets.of_matrix(groups(8, 8) // 4, length, interval) for _ in range(int(rng.integers(1, 5)))]
        columns_of = ("time", "source", "target", "flits")
        return Packets(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns_of))
    made: dict[str, Callable[[], Ints]] = {
        "all to all": lambda: groups(20, 20),
        "broadcast": lambda: groups(3, 24),
        "reduce": lambda: groups(24, 2),
        "scatter": lambda: groups(1, 24),
        "block-sparse": lambda: groups(24, 24, rng.uniform(0.1, 0.5)),
        "uneven": lambda: groups(20, 20, 0.7, even=False),
        "two phases at once": lambda: groups(8, 8) + groups(8, 4),
    }
    return Packets.of_matrix(made[family](), length)


FAMILIES = (
    "all to all", "broadcast", "reduce", "scatter", "block-sparse", "uneven", "two phases at once", "uniform burst",
    "uniform rate", "paced",
)  # fmt: skip

NAMES = ("tornado", "transpose", "bitcomp", "bitrev", "shuffle", "neighbor", "asymmetric")
PATTERNS = (*(f"{name} rate" for name in NAMES), *(f"{name} burst" for name in NAMES))
SQUARES = ((4, 4), (8, 8), (16, 16))


def some_router(rng: np.random.Generator) -> Router:
    def one(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    kinds: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"num_vcs": 1, "vc_buf_size": one(1, 2, 4, 8, 10, 16)},
        lambda: {"num_vcs": one(8, 16), "vc_buf_size": one(4, 8)},
        lambda: {"num_vcs": one(2, 3, 4), "vc_buf_size": one(2, 4, 8), "credit_delay": one(0, 1, 2)},
        lambda: {"num_vcs": one(1, 2, 4, 8), "vc_buf_size": one(4, 8), "routing_delay": 0, "speculative": True},
        lambda: {
            "num_vcs": one(1, 2, 4), "vc_buf_size": one(1, 4, 10, 16), "routing_delay": one(0, 1, 2, 3),
            "st_final_delay": one(1, 2), "credit_delay": one(0, 1, 2, 3),
        },
        lambda: {
            "num_vcs": one(1, 2, 4, 8, 16), "vc_buf_size": one(2, 4, 8, 16), "internal_speedup": one(1.0, 1.5, 2.0),
            "input_speedup": one(1, 2), "wait_for_tail_credit": one(False, True), "vc_busy_when_full": one(False, True),
        },
    )  # fmt: skip
    return Router.of(one(*kinds)())


def against_the_simulator(
    seeds: range, fixed: tuple[str, Network, int, int] | None = None, families: tuple[str, ...] = FAMILIES
) -> list[dict[str, Any]]:
    """A random case per seed, on a random mesh or on a given network (name, network, columns and rows of nodes)."""
    rows, sizes = [], SQUARES if families is PATTERNS else MESHES
    for seed in seeds:
        rng = np.random.default_rng(seed)
        columns, lines = sizes[int(rng.integers(len(sizes)))]
        name, network, columns, lines = fixed or (f"mesh {columns}x{lines}", mesh(columns, lines), columns, lines)
        length, family = int(rng.choice([1, 2, 4, 8, 16])), families[seed % len(families)]
        packets, router = some_packets(rng, family, columns, lines, length), some_router(rng)
        if not len(packets) or router.num_vcs < network.vc_classes:
            continue
        exact, ours = simulate(packets, network, router).makespan_cycles, analytic_makespan(packets, network, router)
        facts = {
            "seed": seed,
            "family": family,
            "network": name,
            "packet_flits": length,
            "router": router.model_dump(exclude_defaults=True),
        }
        rows.append(facts | {"vcs": router.num_vcs, "simulated": exact, "analytic": round(ours, 1)} | miss(ours, exact))
    return rows


OTHERS = (
    ("torus 8x8", torus(8, 8), 8, 8),
    ("ring of 16", ring(16), 16, 1),
    ("cmesh 4x4 of 2x2", cmesh(4, 4), 8, 8),
    ("tree of 32", tree(32), 32, 1),
    ("chiplets 2x2 of 4x4", chiplets(2, 2, 4, 4, package_cycles=8, package_interval=4), 8, 8),
)


def summary(what: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    off = np.abs([row["difference_percent"] for row in rows])
    return {
        "rows": what,
        "number": len(rows),
        "median_percent": round(float(np.median(off)), 2),
        "p90_percent": round(float(np.percentile(off, 90)), 2),
        "worst_percent": float(off.max()),
        "within_5_percent": round(float((off <= 5).mean()), 3),
        "within_20_percent": round(float((off <= 20).mean()), 3),
    }


def resnet50() -> tuple[Ints, Ints, Ints, Ints, int]:
    """Transfers with the shape of ResNet-50's: its layers on consecutive tiles of 512 x 64 weights, row-major.

    A layer takes two phases: from the tiles with the results of the layer before to all of its own, and from each tile
    to the middle one of its column. A tile with results sends one row per channel group of 16.
    """
    layers = [(3, 64, 49, 112)]
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        middle, edge = 64 << stage, 56 >> stage
        for _ in range(blocks):
            layers += [(width, middle, 1, edge), (middle, middle, 9, edge), (middle, 4 * middle, 1, edge)]
            width = 4 * middle
    layers.append((2048, 1000, 1, 1))
    parts: list[tuple[Ints, ...]] = []
    phase, tile, results = 0, 0, np.array([0])
    for inputs, outputs, taps, edge in layers:
        down, across = -(-inputs * taps // 512), -(-outputs // 64)
        tiles = tile + np.arange(down * across).reshape(across, down)
        groups = np.arange(-(-inputs // 16))
        group, column = (axis.ravel() for axis in np.meshgrid(groups, np.arange(across)))
        home = results[group * len(results) // len(groups)]
        to = tiles[column, group * down // len(groups)]
        parts.append((np.full(len(home), phase), home, to, np.full(len(home), 16 * edge * edge // 4)))
        middle_tile = tiles[:, down // 2]
        senders = tiles.ravel()
        to = np.repeat(middle_tile, down)
        parts.append((np.full(len(to), phase + 1), senders, to, np.full(len(to), 64 * edge * edge)))
        phase, tile, results = phase + 2, tile + down * across, middle_tile
    phases, source, target, flits = (np.concatenate(column) for column in zip(*parts, strict=True))
    return phases, source, target, flits, phase


def speed(options: Options) -> list[dict[str, Any]]:
    phase, source, target, flits, phases = resnet50()
    network, rows = mesh(29, 29), []
    largest = phase == np.bincount(phase).argmax()
    for router in (Router(num_vcs=1, vc_buf_size=10), Router(num_vcs=4, vc_buf_size=4)):
        for what, chosen in (("whole plan", phase >= 0), ("largest phase", largest)):
            seconds = []
            for _ in range(options.repeats + 1):  # The first loads the compiled code.
                begin = time.perf_counter()
                phase_makespans(
                    *(column[chosen] for column in (phase, source, target, flits)), phases, 4, network, router
                )
                seconds.append(time.perf_counter() - begin)
            facts = {
                "what": what,
                "vcs": router.num_vcs,
                "transfers": int(chosen.sum()),
                "phases": len(set(phase[chosen])),
            }
            rows.append(facts | {"milliseconds": round(1e3 * min(seconds[1:]), 2)})
    return rows


def print_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


def main(options: Options) -> None:
    console = Console()
    against_booksim = traces()
    looked_at = against_the_simulator(range(options.cases // 2))
    held_out = against_the_simulator(range(options.cases // 2, options.cases))
    sums = [summary("BookSim2 traces", against_booksim)]
    sums += [
        summary(f"BookSim2 traces, {c}", [r for r in against_booksim if r["config"] == c])
        for c in dict.fromkeys(r["config"] for r in against_booksim)
    ]
    sums += [summary("simulator, looked at", looked_at), summary("simulator, held out", held_out)]
    for low, high in ((1, 1), (2, 4), (8, 16)):
        sums.append(summary(f"held out, {low} to {high} VCs", [r for r in held_out if low <= r["vcs"] <= high]))
    sums += [summary(f"held out, {f}", [r for r in held_out if r["family"] == f]) for f in FAMILIES]
    patterns = against_the_simulator(range(5000, 5000 + options.patterns), families=PATTERNS)
    sums.append(summary("patterns", patterns))
    sums.append(summary("patterns, one VC", [r for r in patterns if r["vcs"] == 1]))
    sums += [summary(f"patterns, {f}", [r for r in patterns if r["family"] == f]) for f in PATTERNS]
    others = {network[0]: against_the_simulator(range(1000, 1000 + options.others), network) for network in OTHERS}
    sums += [summary(name, rows) for name, rows in others.items()]
    timings = speed(options)
    for rows in (against_booksim, sums, timings):
        print_rows(console, rows)
    result = {
        "schema": 1,
        "command": "python benchmarks/analytic.py",
        "device": f"cpu, 1 thread, {platform.machine()}",
        "summary": sums,
        "speed": timings,
        "traces": against_booksim,
        "held_out": held_out,
        "patterns": patterns,
        "other_networks": [row for rows in others.values() for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
