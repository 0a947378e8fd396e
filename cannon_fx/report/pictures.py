"""Every figure of a run's record: what the page shows, and what is written out for a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cannon_fx.report import floor_plan
from cannon_fx.report.bars import layer_figures, share_figure
from cannon_fx.report.figures import Figure
from cannon_fx.report.headline import Pair, choose_pair
from cannon_fx.report.history import history_figures
from cannon_fx.report.masks import mask_figure


def layer_numbers(record: Mapping[str, Any], pair: Pair) -> dict[str, int]:
    """The number that stands for each layer in all figures and tables."""
    shown = [name for name in (pair.before, pair.after) if name is not None]
    layers = [layer["name"] for name in shown for layer in record["methods"][name]["layers"]]
    return floor_plan.layer_numbers(layers, [t for name in shown for t in floor_plan.of_method(record, name)["tiles"]])


def figures_of(record: Mapping[str, Any]) -> list[Figure]:
    """All figures, in the page's order; those that would show nothing are left out."""
    methods, pair = record["methods"], choose_pair(record["methods"])
    after = methods[pair.after]
    masks = [mask_figure(after["layers"], layer_numbers(record, pair))] if after["layers"] else []
    return [
        share_figure(methods),
        *floor_plans(record, pair),
        *layer_figures(methods, pair),
        *masks,
        *history_figures(record),
    ]


def floor_plans(record: Mapping[str, Any], pair: Pair) -> list[Figure]:
    """Before and after, and the scale that both share."""
    numbers, methods = layer_numbers(record, pair), record["methods"]
    shown = {when: name for when, name in (("before", pair.before), ("after", pair.after)) if name is not None}
    most = floor_plan.most_flits(*(methods[name]["links"] for name in shown.values()))
    found = []
    for when, name in shown.items():
        title = f"Floor plan of the chip with the flits on its links: {name}"
        svg = floor_plan.floor_plan_svg(floor_plan.of_method(record, name), methods[name], numbers, most, title)
        found.append(Figure(f"floor-plan-{when}", title, svg))
    if most:
        found.append(Figure("floor-plan-scale", "Flits on a link, per inference", floor_plan.scale_svg(most)))
    return found
