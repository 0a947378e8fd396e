"""A sweep's rows as a table for the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table

from cannon_fx.sweep.points import Against, Row, front

SHOWN = 20
"""Rows in the terminal; the files hold all."""

COLUMNS: dict[Against, tuple[str, ...]] = {
    "latency_cycles": ("energy_pj", "latency_cycles", "edp_pj_cycles", "tiles", "utilisation"),
    "accuracy": ("energy_pj", "accuracy", "latency_cycles", "edp_pj_cycles", "density"),
}


def text_of(rows: Sequence[Row]) -> str:
    """The rows as CSV."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def table(rows: Sequence[Row], names: Sequence[str], against: Against, width: int) -> str:
    """The points with the least energy, those on the Pareto front of energy and `against` marked."""
    known = sorted((row for row in rows if "error" not in row), key=lambda row: row["energy_pj"])
    wrong = [row for row in rows if "error" in row]
    best = front(known, against).tolist() if None not in [row[against] for row in known] else [False] * len(known)
    what = against.partition("_")[0]
    found = Table(title=f"{len(known):,} points, by communication energy; * on the Pareto front of energy and {what}")
    for name in ("", *names, *COLUMNS[against]):
        found.add_column(name, justify="right", no_wrap=True)
    for row, chosen in islice(zip(known, best, strict=True), SHOWN):
        found.add_row("*" if chosen else "", *(_cell(row[name]) for name in (*names, *COLUMNS[against])))
    console = Console(width=width, no_color=True, highlight=False, markup=False)
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
