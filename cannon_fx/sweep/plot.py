"""Energy against latency or accuracy of a sweep's points, and the front that no point beats in both."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cannon_fx.sweep.points import Against, Row, front

NAMED = 12
"""Points of the front that have their values written beside them; more would hide each other."""

LABEL: dict[Against, str] = {
    "latency_cycles": "communication latency (cycles, analytic)",
    "accuracy": "accuracy",
}


def pareto_plot(rows: Sequence[Row], names: Sequence[str], against: Against, file_format: str) -> bytes:
    """The picture as a file's content; axes logarithmic but for accuracy. Rows with an error are left out."""
    known = [row for row in rows if "error" not in row]
    costs = np.array([[row["energy_pj"], row[against]] for row in known])
    best = np.flatnonzero(front(known, against))
    best = best[np.argsort(costs[best, 0])]
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*costs.T, "o", ms=4, color="0.65", label="points")
    axes.plot(*costs[best].T, "o-", ms=5, color="#1766aa", drawstyle="steps-post", label="Pareto front")
    if len(best) <= NAMED:
        for index in best:
            label = ", ".join(str(known[index][name]) for name in names)
            axes.annotate(label, costs[index], xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="communication energy (pJ)", ylabel=LABEL[against], xscale="log")
    axes.set_yscale("linear" if against == "accuracy" else "log")
    axes.set_title("per inference, by " + ", ".join(names), fontsize=10)
    axes.margins(0.1)
    axes.grid(which="both", alpha=0.25)
    axes.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format=file_format, dpi=150)
    return out.getvalue()
