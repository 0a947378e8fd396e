"""Energy against latency of a sweep's points, and the front that no point beats in both."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cannon_fx.sweep.points import Row, pareto

NAMED = 12
"""Points of the front that have their values written beside them; more would hide each other."""


def pareto_plot(rows: Sequence[Row], names: Sequence[str], file_format: str) -> bytes:
    """The picture as a file's content; both axes logarithmic. Rows with an error are left out."""
    known = [row for row in rows if "error" not in row]
    costs = np.array([[row["energy_pj"], row["latency_cycles"]] for row in known])
    front = np.flatnonzero(pareto(costs))
    front = front[np.argsort(costs[front, 0])]
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(*costs.T, "o", ms=4, color="0.65", label="points")
    axes.loglog(*costs[front].T, "o-", ms=5, color="#1766aa", drawstyle="steps-post", label="Pareto front")
    if len(front) <= NAMED:
        for index in front:
            label = ", ".join(str(known[index][name]) for name in names)
            axes.annotate(label, costs[index], xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="communication energy (pJ)", ylabel="communication latency (cycles, analytic)")
    axes.set_title("per inference, by " + ", ".join(names), fontsize=10)
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format=file_format, dpi=150)
    return out.getvalue()
