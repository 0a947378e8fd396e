"""Accuracy against energy, latency and EDP, one line per method, as inline SVG that follows the page's theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cannon_fx.compare.summary import TOLERANCE, Point
from cannon_fx.report.figures import INK, SERIES, dress, series_number, to_svg

NAMES = {"energy_pj": "energy", "latency_cycles": "latency", "edp_pj_cycles": "EDP"}
MARKERS = "osD^vPX*"
SHOWN = 0.08
"""Accuracy below dense that a figure shows; the table has all."""


def pareto_figure(points: Sequence[Point], cost: str) -> str:
    """The points of one network on one chip: accuracy over times less than dense. Same input, same bytes."""
    import matplotlib  # here, because it is slow to import and most callers never draw
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(point.method for point in points))
    (dense,) = (point for point in points if point.method == "dense")
    with matplotlib.rc_context({"svg.hashsalt": f"cannon_fx {cost}", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for method in methods:
            own = sorted((p for p in points if p.method == method), key=lambda p: -p.costs[cost])
            x = [dense.costs[cost] / p.costs[cost] for p in own]
            y, spread = [100 * p.accuracy for p in own], [100 * p.accuracy_std for p in own]
            number = series_number(method, methods)
            style: dict[str, Any] = {"color": SERIES[number], "marker": MARKERS[number], "markersize": 4}
            axes.errorbar(x, y, spread, label=method, linewidth=1.4, capsize=2, **style)
        axes.axhline(100 * (dense.accuracy - TOLERANCE), color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        # What matters is near dense; a method that has lost more leaves the picture at the bottom.
        axes.set_ylim(100 * (dense.accuracy - SHOWN), min(100.0, 100 * (dense.accuracy + SHOWN / 4)))
        dress(axes, f"{NAMES[cost]}, times less than dense", "accuracy (%)", ncols=3)
        return to_svg(figure)
