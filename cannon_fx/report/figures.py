"""Accuracy and communication energy over the epochs, as inline SVG that follows the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cannon_fx.report.headline import budget_factor
from cannon_fx.report.numbers import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib draws with these stand-ins; afterwards they become the page's own colours.
INK = "#010203"
SERIES = tuple(f"#0104{number:02x}" for number in range(8))
DASHES: tuple[Any, ...] = ((0, (5, 2)), "-", (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)))
UNITS = ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))
Record = Mapping[str, Any]
HEIGHT, WIDTH = 3.0, 4.8  # inches of 72 SVG units


def series_number(method: str, methods: Sequence[str]) -> int:
    """The colour and dash of a method: 0 for dense, 1 for cannon, then the others in order."""
    fixed = {"dense": 0, "cannon": 1}
    others = [name for name in methods if name not in fixed]
    return fixed[method] if method in fixed else 2 + others.index(method) % (len(SERIES) - 2)


def history_figures(record: Record) -> list[tuple[str, str]]:
    """(what it shows, svg) for accuracy and for energy; a figure without any number is left out."""
    history = record.get("history") or []
    methods = list(dict.fromkeys([*record["methods"], *(row["method"] for row in history)]))
    figures = []
    if history:
        history = [*history, *_dense_throughout(record, history)]
    for key, name in (("accuracy", "Accuracy"), ("energy_pj", "Communication energy")):
        if any(known(row.get(key)) for row in history):
            budget = _energy_budget(record) if key == "energy_pj" else None
            figures.append((f"{name} over the epochs", line_figure(history, methods, key, budget)))
    return figures


def _dense_throughout(record: Record, history: Sequence[Record]) -> list[dict[str, Any]]:
    """Dense as a level line over all epochs when it has no rows of its own."""
    dense = record["methods"].get("dense")
    if dense is None or any(row["method"] == "dense" for row in history):
        return []
    epochs = [row["epoch"] for row in history]
    ends = dict.fromkeys((min(epochs), max(epochs)))
    return [{**dense, "method": "dense", "epoch": epoch} for epoch in ends]


def _energy_budget(record: Record) -> float | None:
    factor, dense = budget_factor(record.get("budget")), record["methods"].get("dense")
    if factor is None or factor[0] != "energy_pj" or dense is None or not known(dense["energy_pj"]):
        return None
    return float(dense["energy_pj"]) / factor[1]


def line_figure(rows: Sequence[Record], methods: Sequence[str], key: str, budget: float | None = None) -> str:
    """One line per method over the epochs; a dot where its fine-tuning begins. Same input, same bytes."""
    import matplotlib  # here, because it is slow to import and most callers never draw
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # The salt makes the ids repeatable, and different from those of the page's other figure.
    with matplotlib.rc_context({"svg.hashsalt": f"cannon_fx {key}", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        largest = max((row[key] for row in rows if known(row.get(key))), default=1.0)
        divisor, unit = (0.01, "%") if key == "accuracy" else energy_unit(largest)
        for method in methods:
            own = [row for row in rows if row["method"] == method and known(row.get(key))]
            _line(axes, own, method, series_number(method, methods), key, divisor)
        if budget is not None:
            axes.axhline(budget / divisor, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label="budget")
        dress(axes, "epoch", "accuracy (%)" if key == "accuracy" else f"communication energy ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if key == "accuracy":
            axes.set_ylim(*(limit / divisor for limit in settled_range(rows, key)))
        else:
            axes.set_ylim(bottom=0)
        return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """The figure in the page's colours and font."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return follow_theme(out.getvalue())


def settled_range(history: Sequence[Record], key: str) -> tuple[float, float]:
    """The range of the values after each method's first quarter of epochs, and a little more.

    What matters is by how little the methods differ in the end; the first epochs would flatten that.
    """
    settled = []
    for method in dict.fromkeys(row["method"] for row in history):
        values = [row[key] for row in history if row["method"] == method and known(row.get(key))]
        settled += values[len(values) // 4 :]
    top, bottom = max(settled), min(settled)
    room = 0.12 * ((top - bottom) or 0.1)
    return bottom - room, top + room


def energy_unit(largest: float) -> tuple[float, str]:
    """(pJ per unit, unit) that keeps the axis between 1 and 1000."""
    return next(((size, unit) for size, unit in UNITS if largest >= size), UNITS[-1])


def _line(axes: Axes, rows: Sequence[Record], method: str, number: int, key: str, divisor: float) -> None:
    if not rows:
        return
    points = [(row["epoch"], row[key] / divisor) for row in rows]
    width = 2.0 if number == 1 else 1.4
    dash = DASHES[min(number, len(DASHES) - 1)]
    axes.plot(*zip(*points, strict=True), color=SERIES[number], linewidth=width, linestyle=dash, label=method)
    phases = [row.get("phase") for row in rows]
    if "fine-tune" in phases and phases[0] != "fine-tune":
        start = points[phases.index("fine-tune")]
        axes.plot(*start, marker="o", markersize=5, color=SERIES[number], linestyle="none")


def dress(axes: Axes, x_label: str, y_label: str, ncols: int = 4) -> None:
    """Labels, thin spines, a legend above in `ncols` columns."""
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=INK, length=3, width=0.6)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=INK, linewidth=0.6)
    handles = axes.get_legend_handles_labels()[0]
    if handles:
        axes.figure.legend(
            loc="outside upper left", ncols=ncols, frameon=False, labelcolor=INK, handlelength=2.2,
            columnspacing=1.2, borderpad=0, borderaxespad=0,
        )  # fmt: skip


def follow_theme(svg: str) -> str:
    """Cut what a page does not need, and put the page's colours and font in place of the stand-ins."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    # Ids that nothing refers to would only clash with those of the page's other figure.
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = svg.replace(INK, "currentColor")
    for number, stand_in in enumerate(SERIES):
        svg = svg.replace(stand_in, f"var(--series-{number})")
    return svg
