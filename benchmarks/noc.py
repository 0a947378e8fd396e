"""How close is the flit simulator to BookSim2, and how fast? Every case of the reference, and µs per flit-hop.

python benchmarks/noc.py [--out benchmarks/results/noc.json]
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.traffic import Packets, pattern, synthetic

DATA = Path(__file__).parents[1] / "tests" / "data" / "noc"


@dataclass(frozen=True)
class Options:
    """Synthetic rows: packets created after the warm-up count; traffic goes on as long again after them."""

    packets: int = 30_000
    """measured in rows below saturation; in others BookSim2's own window counts, since latency grows with it"""
    warmup: int = 3_000
    repeats: int = 3
    """of each timing; the fastest counts, since other programs only ever make it slower"""
    out: Path = Path(__file__).parent / "results" / "noc.json"


def routers(reference: dict[str, Any]) -> dict[str, Router]:
    return {
        name: Router.parse("".join(f"{key} = {value};\n" for key, value in config.items()), name)[0]
        for name, config in reference["configs"].items()
    }


def traces(reference: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, case in reference["trace_cases"].items():
        packets, network = Packets.load(DATA / f"{name}.txt"), topologies.mesh(case["k"], case["k"])
        for config, router in routers(reference).items():
            found, booksim = simulate(packets, network, router), case["results"][config]
            for what, theirs, ours in (
                ("makespan", booksim["makespan"], found.makespan_cycles),
                ("mean latency", booksim["packet_latency_avg"], found.mean_packet_latency_cycles),
            ):
                rows.append(row(name, config, what, theirs, ours))
    return rows


def rates(reference: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    rows = []
    for case in reference["synthetic"]:
        edge, flits, rate = case["k"], case["packet_size_flits"], case["injection_flits_per_node_cycle"]
        name = f"{case['traffic']} {edge}x{edge}, {flits}-flit, {rate}"
        try:
            pattern(case["traffic"], edge * edge)
        except ChipError:
            continue  # Hot spots and seeded permutations are BookSim2's own random numbers.
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
        router, network = routers(reference)[case["config"]], topologies.mesh(edge, edge)
        latency = []
        for seed in range(8 if saturating else 1):
            packets = synthetic(case["traffic"], edge * edge, rate, flits, cycles, seed)
            measured = (options.warmup <= packets.time) & (packets.time < end)
            latency.append(simulate(packets, network, router).latency_cycles[measured])
        ours = np.concatenate(latency)
        found = row(name, case["config"], "mean latency", case["packet_latency_avg"], float(ours.mean()))
        # Standard error of the reference's mean if its packets were independent; their queues make it larger.
        error = float(ours.std()) / math.sqrt(per_cycle * window * case["seeds"])
        rows.append(
            found
            | {
                "saturating": saturating,
                "reference_error_percent": round(100 * error / case["packet_latency_avg"], 2),
                "seed_means": [round(float(part.mean()), 2) for part in latency],
            }
        )
    return rows


def row(case: str, config: str, what: str, booksim: float, ours: float) -> dict[str, Any]:
    difference = 100 * (ours / booksim - 1)
    return {
        "case": case,
        "config": config,
        "what": what,
        "booksim2": booksim,
        "ours": round(ours, 4),
        "difference_percent": round(difference, 4),
    }


def speed(reference: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    rows = []
    for edge in (8, 16):
        network = topologies.mesh(edge, edge)
        for config, router in routers(reference).items():
            for flits in (1, 4):
                rate = 0.05 if router.num_vcs == 1 else 0.1
                packets = synthetic("uniform", edge * edge, rate, flits, 4000, seed=1)
                seconds = []
                for _ in range(options.repeats):
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
                        "us_per_flit_hop": round(1e6 * min(seconds) / found.flit_hops, 4),
                    }
                )
    return rows


def main(options: Options) -> None:
    console = Console()
    reference = json.loads((DATA / "booksim.json").read_text("utf-8"))
    begin = time.perf_counter()
    simulate(Packets.of_rows([(0, 0, 1, 1)]), topologies.mesh(2, 2), Router())
    compile_seconds = time.perf_counter() - begin
    synthetic_rows = rates(reference, options)
    validation = {
        "trace": traces(reference),
        "below saturation": [r for r in synthetic_rows if not r["saturating"]],
        "near saturation": [r for r in synthetic_rows if r["saturating"]],
    }
    table = Table("case", "config", "what", "BookSim2", "ours", "difference %", "error of BookSim2's mean %")
    for group in validation.values():
        for r in group:
            ours, theirs = f"{r['ours']:.2f}", f"{r['booksim2']:.2f}"
            error = str(r.get("reference_error_percent", ""))
            table.add_row(r["case"], r["config"], r["what"], theirs, ours, f"{r['difference_percent']:+.2f}", error)
    console.print(table)
    summary = []
    for group, found in validation.items():
        for config in reference["configs"]:
            misses = [abs(r["difference_percent"]) for r in found if r["config"] == config]
            if misses:
                summary.append(
                    {
                        "rows": group,
                        "config": config,
                        "number": len(misses),
                        "median_percent": round(statistics.median(misses), 4),
                        "worst_percent": max(misses),
                        "above_3_percent": sum(miss > 3 for miss in misses),
                    }
                )
    table = Table("rows", "config", "number", "median |%|", "worst |%|", "above 3 %")
    for s in summary:
        table.add_row(*(str(value) for value in s.values()))
    console.print(table)
    fast = speed(reference, options)
    table = Table("mesh", "config", "packet flits", "rate", "flit-hops", "µs per flit-hop")
    for s in fast:
        table.add_row(*(str(value) for value in s.values()))
    console.print(table)
    console.print(f"first call, with compiling or loading the compiled kernel: {compile_seconds:.1f} s")
    result = {
        "schema": 1,
        "command": "python benchmarks/noc.py",
        "device": f"cpu, 1 thread, {platform.machine()}",
        "first_call_seconds": round(compile_seconds, 2),
        "summary": summary,
        "validation": validation,
        "speed": fast,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
