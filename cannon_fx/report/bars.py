"""Costs as bars: each method's energy by what is sent, and each layer's before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cannon_fx.report.figures import PARTS, SERIES, Figure, cycle_unit, draw, dress, energy_unit
from cannon_fx.report.headline import Pair
from cannon_fx.report.tables import SHARES, Methods, entries

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 80
"""Bars of a figure; of more layers and moves, the costliest."""
LONGEST = 28
"""Characters of a name in a figure; of longer ones the end, which tells layers apart."""


def share_figure(methods: Methods) -> Figure:
    """One bar per method, in parts."""
    shares = [[float(m["energy_shares_pj"].get(key) or 0.0) for key, _ in SHARES] for m in methods.values()]
    divisor, unit = energy_unit(max(map(sum, shares)))

    def paint(axes: Axes) -> None:
        for part, (_, name) in enumerate(SHARES):
            start = [sum(row[:part]) / divisor for row in shares]
            axes.barh(
                range(len(shares)), [row[part] / divisor for row in shares], 0.6, start, color=PARTS[part], label=name
            )
        _names(axes, list(methods))
        dress(axes, f"communication energy ({unit})", "", ncols=3)
        axes.grid(visible=False, axis="y")

    return draw("energy-shares", "Communication energy by what is sent", paint, 1.0 + 0.3 * len(shares))


def layer_figures(methods: Methods, pair: Pair) -> list[Figure]:
    """Energy and latency of the pair's layers and moves."""
    if not entries(methods[pair.after]):
        return []
    return [
        _layers(methods, pair, "energy_pj", "layer-energy", "Communication energy of each layer and move"),
        _layers(methods, pair, "latency_cycles", "layer-latency", "Communication latency of each layer and move"),
    ]


def _layers(methods: Methods, pair: Pair, key: str, name: str, title: str) -> Figure:
    shown = [method for method in (pair.before, pair.after) if method is not None]
    costs = {method: {at: float(row[key] or 0.0) for at, row in entries(methods[method]).items()} for method in shown}
    rows = list(costs[pair.after])
    largest = {at: max(costs[method].get(at, 0.0) for method in shown) for at in rows}
    drawn = set(sorted(rows, key=lambda at: -largest[at])[:MOST])
    rows = [at for at in rows if at in drawn]
    divisor, unit = (energy_unit if key == "energy_pj" else cycle_unit)(max(largest.values()))
    width = 0.8 / len(shown)

    def paint(axes: Axes) -> None:
        for number, method in enumerate(shown):
            places = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(rows))]
            lengths = [costs[method].get(at, 0.0) / divisor for at in rows]
            colour = SERIES[0 if method == pair.before else 1]
            axes.barh(places, lengths, width, color=colour, label=method)
        _names(axes, [at[1] for at in rows])
        dress(axes, f"{key.partition('_')[0]} ({unit})", "")
        axes.grid(visible=False, axis="y")

    return draw(name, title, paint, 0.9 + 0.2 * len(rows))


def _names(axes: Axes, names: list[str]) -> None:
    """Names beside the bars, the first on top."""
    short = [name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}" for name in names]
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", labelsize=8 if len(names) > 6 else 10)
