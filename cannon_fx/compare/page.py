"""What a comparison leaves in its folder: compare.json with every row, and compare.html."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cannon_fx.atomic import atomic_write_text
from cannon_fx.compare.figures import NAMES, pareto_figure
from cannon_fx.compare.rows import Outcome, refusals, rows_of
from cannon_fx.compare.summary import COSTS, Point, advantages, points
from cannon_fx.methods import MEANING
from cannon_fx.report.html import render_template
from cannon_fx.report.numbers import NOTHING, percent, quantity, ratio


def record_of(outcomes: list[Outcome], command: str, config: dict[str, Any]) -> dict[str, Any]:
    """What compare.json holds. Only measured rows: a budget that a method cannot meet stands under "refused"."""
    versions = {name: version(name) for name in ("cannon-fx", "torch", "numpy")} | {"python": platform.python_version()}
    try:
        versions["torch-pruning"] = version("torch-pruning")
    except ModuleNotFoundError:
        pass  # only two of the methods need it
    return {
        "schema": 1,
        "command": command,
        "versions": versions,
        "config": config,
        "runs": rows_of(outcomes),
        "refused": refusals(outcomes),
    }


def write_comparison(record: dict[str, Any], folder: Path) -> None:
    """Writes both files whole or not at all."""
    atomic_write_text(folder / "compare.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    atomic_write_text(folder / "compare.html", render(record))


def render(record: dict[str, Any]) -> str:
    """The page. The same record gives the same page."""
    found = points(record["runs"])
    places = list(dict.fromkeys((point.network, point.chip) for point in found))
    sections = []
    for network, chip in places:
        own = [point for point in found if (point.network, point.chip) == (network, chip)]
        figures = [(f"accuracy against {NAMES[cost]}", Markup(pareto_figure(own, cost))) for cost in COSTS]
        sections.append({"title": f"{network} on {chip}", "rows": table(own), "figures": figures})
    means = [[each.method, *map(_times, map(each.geometric_mean, COSTS))] for each in advantages(found)]
    return render_template("compare.html.j2", record=record, sections=sections, means=means, meaning=MEANING)


def table(found: list[Point]) -> list[list[str]]:
    """Method, budget, seeds, accuracy, then each cost's times less than dense, and density: as text."""
    (dense,) = (point for point in found if point.method == "dense")
    return [
        [
            point.method,
            point.budget or NOTHING,
            str(point.seeds),
            f"{percent(point.accuracy, 2)} ± {percent(point.accuracy_std, 2)}{'' if point.keeps_accuracy else ' *'}",
            quantity(point.costs["energy_pj"]),
            quantity(point.costs["latency_cycles"]),
            *(ratio(dense.costs[cost], point.costs[cost]) for cost in COSTS),
            percent(point.density),
        ]
        for point in found
    ]


def _times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
