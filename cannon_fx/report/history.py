"""Accuracy and communication energy over the epochs, and against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cannon_fx.report.figures import INK, SERIES, Figure, draw, dress, energy_unit, series_number
from cannon_fx.report.headline import budget_factor
from cannon_fx.report.numbers import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: tuple[Any, ...] = ((0, (5, 2)), "-", (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)))
Record = Mapping[str, Any]


def history_figures(record: Record) -> list[Figure]:
    """Accuracy, energy, and one against the other; a figure without any number is left out."""
    history = record.get("history") or []
    methods = list(dict.fromkeys([*record["methods"], *(row["method"] for row in history)]))
    figures = []
    if history:
        history = [*history, *_dense_throughout(record, history)]
    for key, name, words in (
        ("accuracy", "history-accuracy", "Accuracy"),
        ("energy_pj", "history-energy", "Communication energy"),
    ):
        if any(known(row.get(key)) for row in history):
            budget = _energy_budget(record) if key == "energy_pj" else None
            figures.append(line_figure(name, f"{words} over the epochs", history, methods, key, budget))
    both = [row for row in history if known(row.get("accuracy")) and known(row.get("energy_pj"))]
    if both:
        figures.append(pareto_figure(both, methods))
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


def line_figure(
    name: str, title: str, rows: Sequence[Record], methods: Sequence[str], key: str, budget: float | None = None
) -> Figure:
    """One line per method over the epochs; a dot where its fine-tuning begins."""

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

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

    return draw(name, title, paint)


def settled_range(history: Sequence[Record], key: str, before: float = 0.25) -> tuple[float, float]:
    """The range of the values after each method's first quarter of epochs (`before`), and a little more.

    What matters is by how little the methods differ in the end; the first epochs would flatten that.
    """
    settled = []
    for method in dict.fromkeys(row["method"] for row in history):
        values = [row[key] for row in history if row["method"] == method and known(row.get(key))]
        settled += values[int(before * len(values)) :]
    top, bottom = max(settled), min(settled)
    room = 0.12 * ((top - bottom) or 0.1)
    return bottom - room, top + room


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


def pareto_figure(rows: Sequence[Record], methods: Sequence[str]) -> Figure:
    """Every epoch of every method, its last one large, and the front that no epoch is better than in both."""
    largest = max(row["energy_pj"] for row in rows)
    divisor, unit = energy_unit(largest)

    def paint(axes: Axes) -> None:
        for method in methods:
            own = [(row["energy_pj"] / divisor, 100 * row["accuracy"]) for row in rows if row["method"] == method]
            if own:
                colour = SERIES[series_number(method, methods)]
                axes.plot(*zip(*own, strict=True), ".", color=colour, markersize=3.5, alpha=0.6)
                axes.plot(*own[-1], "o", color=colour, markersize=7, label=method)
        best = pareto_front([(row["energy_pj"], row["accuracy"]) for row in rows])
        front = [(energy / divisor, 100 * accuracy) for energy, accuracy in best]
        axes.plot(*zip(*front, strict=True), color=INK, linewidth=0.8, drawstyle="steps-post", label="front")
        dress(axes, f"communication energy ({unit})", "accuracy (%)")
        bottom, top = settled_range(rows, "accuracy", 0.5)
        axes.set_ylim(100 * bottom, 100 * top)
        axes.set_xlim(left=0)

    return draw("pareto", "Accuracy against communication energy", paint)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, value) that no other beats in one without being worse in the other, cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
