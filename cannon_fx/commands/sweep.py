"""`cannon sweep`: what a network costs on many chips, or on one with other constants."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannon_fx.commands import check_folder
from cannon_fx.commands.mapping import NetworkOptions

if TYPE_CHECKING:
    from cannon_fx.sweep.points import Row

SHOWN = 20
"""Rows in the terminal; the files hold all."""


@dataclass(frozen=True)
class Sweep(NetworkOptions):
    """Find out what a network costs on many chips. Constants of the energy formula need no mapping and are instant."""

    vary: tuple[str, ...] = ()
    """NAME=VALUES, also several, all combined. VALUES: a,b,c or first:last:count or first:last:count:log. NAME: chip; a
    key of the chip's file, e.g. noc.flit_bits; or a constant of the energy formula: router_pj_per_flit,
    link_pj_per_bit_mm, crossing_pj_per_bit, link_mm, flit_bits, batch (then only the energy is known)"""
    csv: Path | None = None
    """a file for all rows"""
    plot: Path | None = None
    """an .svg, .png or .pdf file for energy against latency, with the Pareto front"""
    json: bool = False
    """print the rows as JSON instead of a table"""

    def run(self) -> None:
        """Prints the cheapest points and writes the files. Raises CannonError, ChipError."""
        from cannon_fx.atomic import atomic_write_bytes, atomic_write_text
        from cannon_fx.capture import capture
        from cannon_fx.errors import RunError
        from cannon_fx.hw.chip import Chip
        from cannon_fx.sweep.axes import Axis, check_axes
        from cannon_fx.sweep.points import rows_of

        mapping = self.mapping()
        chip = Chip.load(mapping.pop("chip"))
        axes = [Axis.parse(wish, chip) for wish in self.vary]
        if not axes:
            raise RunError("nothing is varied: give --vary NAME=VALUES, e.g. --vary noc.flit_bits=16,32,64.")
        check_axes(axes)
        self._check_files([axis.name for axis in axes if axis.in_formula])
        model, sample = self.network()
        options = mapping | {"targets": mapping["targets"] or None}
        rows = list(rows_of(model, capture(model, sample), chip, axes, **options))
        if all("error" in row for row in rows):
            raise RunError(f"no point can be: {rows[0]['error']}")
        if self.csv:
            atomic_write_text(self.csv, text_of(rows))
        if self.plot:
            from cannon_fx.sweep.plot import pareto_plot

            atomic_write_bytes(self.plot, pareto_plot(rows, [axis.name for axis in axes], self.plot.suffix[1:]))
        names = [axis.name for axis in axes]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n" if self.json else table(rows, names))

    def _check_files(self, constants: list[str]) -> None:
        from cannon_fx.errors import RunError

        check_folder("csv", self.csv)
        check_folder("plot", self.plot)
        if self.plot and self.plot.suffix not in (".svg", ".png", ".pdf"):
            raise RunError(f"--plot {str(self.plot)!r}: end it with .svg, .png or .pdf.")
        if self.plot and constants:
            raise RunError(
                f"--plot shows energy against latency, but varying {constants[0]} says nothing of latency. Vary keys "
                "of the chip's file instead, or leave --plot out."
            )


def text_of(rows: list[Row]) -> str:
    """The rows as CSV."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def table(rows: list[Row], names: list[str]) -> str:
    """The points with the least energy for the terminal, those on the Pareto front of energy and latency marked."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from cannon_fx.sweep.points import pareto

    known = sorted((row for row in rows if "error" not in row), key=lambda row: row["energy_pj"])
    wrong = [row for row in rows if "error" in row]
    latency = [row["latency_cycles"] for row in known]
    front = [False] * len(known)
    if None not in latency:
        front = pareto(np.array([[row["energy_pj"], row["latency_cycles"]] for row in known])).tolist()
    columns = ["energy_pj", "latency_cycles", "edp_pj_cycles", "tiles", "utilisation"]
    found = Table(title=f"{len(known):,} points, by communication energy; * on the Pareto front of energy and latency")
    for name in ("", *names, *columns):
        found.add_column(name, justify="right", no_wrap=True)
    for row, best in islice(zip(known, front, strict=True), SHOWN):
        found.add_row("*" if best else "", *(_cell(row[name]) for name in (*names, *columns)))
    console = Console(width=shutil.get_terminal_size((110, 0)).columns, no_color=True, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(found)
        if len(known) > SHOWN:
            console.print(f"and {len(known) - SHOWN:,} more: --csv FILE holds all.")
        for row in wrong[:3]:
            console.print(f"left out: {row['error']}")
        if len(wrong) > 3:
            console.print(f"left out: {len(wrong) - 3:,} more points that cannot be.")
    return captured.get()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.4g}"
    return str(value)
