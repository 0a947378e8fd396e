"""What do the energy models say of one router, how far is the DSENT table from DSENT, and what does computing cost?

python benchmarks/energy.py [--out benchmarks/results/energy.json]
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tyro
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.compute import layer_cost
from cannon_fx.hw.dsent import Technology, dsent_router
from cannon_fx.hw.energy import Energy
from cannon_fx.hw.router import Router

DATA = Path(__file__).parents[1] / "tests" / "data" / "energy"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """The reference router has 5 ports."""

    flit_bits: int = 32
    num_vcs: int = 1
    vc_buf_size: int = 10
    link_mm: float = 1.0
    clock_ghz: float = 1.0
    out: Path = Path(__file__).parent / "results" / "energy.json"


def models(options: Options) -> Rows:
    """Every energy model at the reference router."""
    chosen = {
        f"dsent {technology}": {"model": "dsent", "technology": technology} for technology in get_args(Technology)
    }
    chosen |= {"noxim": {"model": "noxim"}, "booksim-itrs32": {"model": "booksim-itrs32"}}
    chosen |= {f"per-bit-hop {pj}": {"model": "per-bit-hop", "pj_per_bit": pj} for pj in (0.7, 0.4)}
    router = Router(num_vcs=options.num_vcs, vc_buf_size=options.vc_buf_size)
    found = []
    for name, section in chosen.items():
        e = TypeAdapter[Any](Energy).validate_python(section)
        e = e.resolve(options.flit_bits, router, options.link_mm, options.clock_ghz)
        row = {
            "model": name,
            "router_pj_per_flit": e.router_pj_per_flit,
            "link_pj_per_flit": e.link_pj_per_flit,
            "pj_per_bit_hop": (e.router_pj_per_flit + e.link_pj_per_flit) / options.flit_bits,
            "router_leakage_mw": e.router_leakage_mw,
            "router_clock_mw": e.router_clock_mw,
            "link_leakage_mw": e.link_leakage_mw,
        }
        found.append(row)
    return found


def dsent_errors() -> Rows:
    """The table against DSENT at routers that are not in it, percent."""
    rows = json.loads((DATA / "dsent_elsewhere.json").read_text("utf-8"))["router"]
    misses: dict[str, list[float]] = {}
    for row in rows:
        found = dsent_router(*(row[key] for key in ("technology", "flit_bits", "num_vcs", "vc_buf_size", "ports")))
        row["pj_per_flit"] = row["buffer_pj"] + row["crossbar_pj"] + row["arbiter_pj"]
        for figure in (
            "pj_per_flit",
            "buffer_pj",
            "crossbar_pj",
            "arbiter_pj",
            "clock_mw_at_1ghz",
            "leakage_mw",
            "area_mm2",
        ):
            misses.setdefault(figure, []).append(abs(getattr(found, figure) / row[figure] - 1) * 100)
    return [
        {
            "figure": figure,
            "routers": len(errors),
            "median_percent": statistics.median(errors),
            "worst_percent": max(errors),
        }
        for figure, errors in misses.items()
    ]


def computing() -> Rows:
    """One crossbar of every preset, full of weights, for one position."""
    found = []
    for name in Chip.presets():
        chip = Chip.load(name)
        if chip.compute is None:
            continue
        outputs = chip.tile_columns // chip.tile.pe_columns
        kept = np.ones((1, 1, chip.crossbar.rows), np.bool_)
        cost = layer_cost(
            chip.compute, chip.crossbar, chip.precision, chip.noc.clock_ghz, kept, np.array([outputs]), positions=1
        )
        row = {
            "chip": name,
            "crossbar_pj": cost.crossbar_pj,
            "driver_pj": cost.driver_pj,
            "adc_pj": cost.adc_pj,
            "shift_add_pj": cost.shift_add_pj,
            "pj_per_mac": cost.energy_pj / (chip.crossbar.rows * outputs),
            "latency_ns": cost.latency_cycles / chip.noc.clock_ghz,
        }
        found.append(row)
    return found


def show(console: Console, title: str, rows: Rows) -> None:
    """One table, four digits."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)


def main(options: Options) -> None:
    console = Console(width=140)
    router = f"{options.flit_bits} bits, {options.num_vcs} VC x {options.vc_buf_size}"
    size = f"{router}, {options.link_mm} mm, {options.clock_ghz} GHz"
    result = {
        "schema": 1,
        "command": "python benchmarks/energy.py",
        "reference": size,
        "models": models(options),
        "dsent_elsewhere": dsent_errors(),
        "computing": computing(),
    }
    show(console, f"energy models, {size}", result["models"])
    show(console, "DSENT table against DSENT elsewhere", result["dsent_elsewhere"])
    show(console, "one full crossbar, one position", result["computing"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
