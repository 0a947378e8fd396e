"""How close are the models of the network to BookSim2, and how fast? Every row of tests/data/noc, and µs per flit-hop.

python benchmarks/noc.py [--out benchmarks/results/noc.json]

Writes the results, and from them the tables and the picture of docs/: noc_tables.md and images/noc.png.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import booksim
import matplotlib
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.hw import topologies
from cannon_fx.hw.analytic import analytic_makespan
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.traffic import synthetic

matplotlib.use("Agg")
from matplotlib import pyplot

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Options:
    """Synthetic rows: packets created after the warm-up count; traffic goes on as long again after them."""

    packets: int = 30_000
    """measured in rows below saturation; in others BookSim2's own window counts, since latency grows with it"""
    warmup: int = 3_000
    repeats: int = 3
    """of each timing; the fastest counts, since other programs only ever make it slower"""
    out: Path = Path(__file__).parent / "results" / "noc.json"


def traces(reference: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for case in booksim.traces(reference):
        found = simulate(case.packets, case.network, case.router)
        analytic = analytic_makespan(case.packets, case.network, case.router)
        makespans = {"simulated": found.makespan_cycles, "analytic": analytic}
        latencies = {"simulated": found.mean_packet_latency_cycles, "analytic": None}
        rows.append(row(case.name, case.config, "makespan", case.results["makespan"], makespans))
        rows.append(row(case.name, case.config, "mean latency", case.results["packet_latency_avg"], latencies))
    return rows


def rates(reference: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    rows = []
    for case in reference["synthetic"]:
        edge, flits, rate = case["k"], case["packet_size_flits"], case["injection_flits_per_node_cycle"]
        name = f"{case['traffic']} {edge}x{edge}, {flits}-flit, {rate}"
        same = ("config", "k", "traffic", "packet_size_flits")
        calm = min(
            other["packet_latency_avg"]
            for other in reference["synthetic"]
            if all(other[key] == case[key] for key in same)
        )
        saturating = case["packet_latency_avg"] > 1.25 * calm
        per_cycle = edge * edge * rate / flits
        # BookSim2 stops after three sample periods at the earliest.
        window = 3 * (2000 if (case["traffic"], edge, flits) == ("uniform", 8, 1) else 1000)
        end = options.warmup + (window if saturating else int(options.packets / per_cycle))
        # As in BookSim2 nodes go on sending while the measured packets are on their way.
        cycles = end + options.warmup
        router, network = booksim.routers(reference)[case["config"]], topologies.mesh(edge, edge)
        latency = []
        for seed in range(8 if saturating else 1):
            packets = synthetic(case["traffic"], edge * edge, rate, flits, cycles, seed)
            measured = (options.warmup <= packets.time) & (packets.time < end)
            latency.append(simulate(packets, network, router).latency_cycles[measured])
        ours = np.concatenate(latency)
        theirs = case["packet_latency_avg"]
        found = row(name, case["config"], "mean latency", theirs, {"simulated": float(ours.mean())})
        # Standard error of the reference's mean if its packets were independent; their queues make it larger.
        error = float(ours.std()) / math.sqrt(per_cycle * window * case["seeds"])
        rows.append(
            found
            | {
                "saturating": saturating,
                "reference_error_percent": round(100 * error / theirs, 2),
                "seed_means": [round(float(part.mean()), 2) for part in latency],
            }
        )
    return rows


def row(case: str, config: str, what: str, booksim: float, models: dict[str, float | None]) -> dict[str, Any]:
    """A row of the validation table: BookSim2's figure, and each model's, if it has one, with its difference."""
    found: dict[str, Any] = {"case": case, "config": config, "what": what, "booksim2": booksim}
    for model, value in models.items():
        found[model] = None if value is None else round(value, 4)
        found[f"{model}_percent"] = None if value is None else round(100 * (value / booksim - 1), 4)
    return found


def summarise(validation: dict[str, list[dict[str, Any]]], configs: list[str], model: str) -> list[dict[str, Any]]:
    """How far a model is off, per group of rows and config."""
    summary = []
    for group, found in validation.items():
        for config in configs:
            known = [r.get(f"{model}_percent") for r in found if r["config"] == config]
            misses = [abs(miss) for miss in known if miss is not None]
            if misses:
                summary.append(
                    {
                        "model": model,
                        "rows": group,
                        "config": config,
                        "number": len(misses),
                        "median_percent": round(statistics.median(misses), 4),
                        "worst_percent": max(misses),
                        "above_3_percent": sum(miss > 3 for miss in misses),
                    }
                )
    return summary


def speed(reference: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    """Time per flit-hop, and for 32x32 of ten million of them."""
    rows = []
    for edge in (8, 16, 32):
        network = topologies.mesh(edge, edge)
        for config, router in booksim.routers(reference).items():
            for flits in (1, 4):
                rate = 0.02 if edge == 32 else 0.05 if router.num_vcs == 1 else 0.1
                cycles = 4000 if edge < 32 else math.ceil(10e6 / (edge**2 * rate * 2 / 3 * edge)) + 50
                packets = synthetic("uniform", edge * edge, rate, flits, cycles, seed=1)
                seconds = []
                for _ in range(options.repeats if edge < 32 else 2):
                    begin = time.process_time()
                    found = simulate(packets, network, router)
                    seconds.append(time.process_time() - begin)
                rows.append(
                    {
                        "mesh": f"{edge}x{edge}",
                        "config": config,
                        "packet_flits": flits,
                        "flits_per_node_cycle": rate,
                        "flit_hops": found.flit_hops,
                        "seconds": round(min(seconds), 3),
                        "us_per_flit_hop": round(1e6 * min(seconds) / found.flit_hops, 4),
                    }
                )
    return rows


def compile_times() -> list[dict[str, Any]]:
    """Seconds of the first simulation of a process, with nothing on disk yet and with the compiled kernel there."""
    rows = []
    for kernel, router in (("usual routers", "Router()"), ("all others", "Router(sw_alloc_delay=2)")):
        code = (
            "import time; from cannon_fx.hw import topologies; from cannon_fx.hw.router import Router; "
            "from cannon_fx.hw.simulator import simulate; from cannon_fx.hw.traffic import Packets; "
            "begin = time.process_time(); "
            f"simulate(Packets.of_rows([(0, 0, 1, 1)]), topologies.mesh(2, 2), {router}); "
            "print(time.process_time() - begin)"
        )
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            run = [sys.executable, "-c", code]
            first, second = (float(subprocess.check_output(run, env=environment, cwd=ROOT)) for _ in range(2))
        rows.append({"kernel": kernel, "compiled_seconds": round(first, 1), "loaded_seconds": round(second, 2)})
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table with a column per key."""
    lines = ["| " + " | ".join(key.replace("_", " ") for key in rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    cells = (["" if value is None else str(value) for value in r.values()] for r in rows)
    return "\n".join([*lines, *("| " + " | ".join(line) + " |" for line in cells)]) + "\n"


def tables(result: dict[str, Any]) -> str:
    text = "# The network's models against BookSim2: all rows\n\nWritten by `python benchmarks/noc.py`; see noc.md.\n"
    text += f"\n## Summary\n\n{markdown(result['summary'])}"
    for group, rows in result["validation"].items():
        kept = [{k: v for k, v in r.items() if k not in ("saturating", "what")} for r in rows]
        if group == "trace":
            kept = [{"case": r["case"], "config": r["config"], "what": r["what"], **k}
                    for r, k in zip(rows, kept, strict=True)]  # fmt: skip
        text += f"\n## {group.capitalize()}\n\n{markdown(kept)}"
    return text + f"\n## Speed\n\n{markdown(result['speed'])}\n{markdown(result['compile'])}"


def picture(result: dict[str, Any], path: Path) -> None:
    """Every row, ours over BookSim2's; and latency over load, where BookSim2 was run at several loads."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    styles = {"trace": ("o", 16), "below saturation": (".", 40), "near saturation": ("^", 22)}
    for (group, rows), color in zip(result["validation"].items(), ("tab:blue", "tab:green", "tab:red"), strict=True):
        marker, size = styles[group]
        left.scatter(
            [r["booksim2"] for r in rows], [r["simulated"] for r in rows], size, [color], marker=marker, label=group
        )
    guessed = [r for r in result["validation"]["trace"] if r["analytic"] is not None]
    theirs, ours = [r["booksim2"] for r in guessed], [r["analytic"] for r in guessed]
    left.scatter(theirs, ours, 30, "black", marker="x", linewidths=0.8, label="trace, analytic")
    ends = [15, 6000]
    left.plot(ends, ends, color="gray", linewidth=0.8, zorder=0)
    left.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="gray", alpha=0.15, label="±10 %")
    left.set(xscale="log", yscale="log", xlabel="BookSim2, cycles", ylabel="ours, cycles", xlim=ends, ylim=ends)
    left.legend()
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for r in result["validation"]["below saturation"] + result["validation"]["near saturation"]:
        case, rate = r["case"].rsplit(", ", 1)
        if case.startswith("uniform 8x8, 1"):
            curves.setdefault(r["config"], []).append((float(rate), r["booksim2"], r["simulated"]))
    for config, points in curves.items():
        rate, theirs, ours = zip(*sorted(points), strict=True)
        (line,) = right.plot(rate, ours, label=config)
        right.scatter(rate, theirs, 24, [line.get_color()], zorder=3)
    right.plot([], [], "o", color="gray", label="BookSim2")
    right.set(xlabel="flits per node and cycle, uniform, 8x8, one-flit packets", ylabel="mean latency, cycles", ylim=0)
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(*(key.replace("_", " ") for key in rows[0]))
    for r in rows:
        table.add_row(*map(str, r.values()))
    console.print(table)


def main(options: Options) -> None:
    console = Console()
    reference = booksim.reference()
    synthetic_rows = rates(reference, options)
    validation = {
        "trace": traces(reference),
        "below saturation": [r for r in synthetic_rows if not r["saturating"]],
        "near saturation": [r for r in synthetic_rows if r["saturating"]],
    }
    result = {
        "schema": 2,
        "command": "python benchmarks/noc.py",
        "device": f"cpu, 1 thread, {platform.machine()}",
        "summary": [
            line
            for model in ("simulated", "analytic")
            for line in summarise(validation, list(reference["configs"]), model)
        ],
        "validation": validation,
        "speed": speed(reference, options),
        "compile": compile_times(),
    }
    for rows in (*validation.values(), result["summary"], result["speed"], result["compile"]):
        show(console, rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")
    atomic_write_text(ROOT / "docs" / "noc_tables.md", tables(result))
    picture(result, ROOT / "docs" / "images" / "noc.png")


if __name__ == "__main__":
    main(tyro.cli(Options))
