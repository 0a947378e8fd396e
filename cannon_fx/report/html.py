"""Render a run's record as one self-contained page: no script, font or image from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cannon_fx.report import floor_plan, headline, tables
from cannon_fx.report.efficiency import COLUMNS, efficiency_table, quantised_rows
from cannon_fx.report.figures import history_figures


def render_template(name: str, **values: Any) -> str:
    """The page that a template of this folder makes of `values`."""
    # Names of layers and models come from the user's files: everything is escaped unless it is Markup.
    environment = Environment(
        loader=PackageLoader("cannon_fx.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values) + "\n"


def render_html(record: dict[str, Any]) -> str:
    """The page of `record` (the content of report.json). The same record gives the same page."""
    return render_template("template.html.j2", **_page(record))


def _page(record: dict[str, Any]) -> dict[str, Any]:
    methods = record["methods"]
    pair = headline.choose_pair(methods)
    tiles = record["floor_plan"]["tiles"]
    numbers = floor_plan.layer_numbers(tables.names_of(methods[pair.after]["layers"]), tiles)
    layers, moves = tables.cost_rows(methods, pair, numbers)
    chip = record.get("chip") or {}
    return {
        "record": record,
        "chip_name": chip.get("name", "a chip without a name"),
        "pair": pair,
        "headline": headline.headline(record),
        "key_numbers": headline.key_numbers(record),
        "budget_verdict": headline.budget_verdict(record),
        "summary": tables.summary_rows(methods),
        "latency_models": tables.latency_models(methods),
        "shares": tables.share_rows(methods),
        "share_names": [name for _, name in tables.SHARES],
        "computing": tables.compute_rows(methods),
        "computing_names": [name for _, name in tables.COMPUTING],
        "efficiency": efficiency_table(methods, pair),
        "efficiency_names": [name for _, name in COLUMNS],
        "quantised": quantised_rows(methods),
        "multicast": bool((chip.get("noc") or {}).get("multicast")),
        "layers": layers,
        "moves": moves,
        "chip_sections": tables.chip_sections(chip),
        "run": tables.run_rows(record),
        "unmapped": record.get("unmapped") or [],
        "fallback_ops": record.get("fallback_ops") or [],
        "figures": [(name, Markup(svg)) for name, svg in history_figures(record)],
        **_floor_plans(record, pair, numbers),
    }


def _floor_plans(record: dict[str, Any], pair: headline.Pair, numbers: Mapping[str, int]) -> dict[str, Any]:
    plan, methods = record["floor_plan"], record["methods"]
    shown = [name for name in (pair.before, pair.after) if name is not None]
    links: dict[str, Sequence[Mapping[str, Any]]] = {name: methods[name].get("links") or [] for name in shown}
    most = floor_plan.most_flits(*links.values())
    held = {tile["layer"] for tile in plan["tiles"]}
    plans = []
    for name in shown:
        label = f"Floor plan of the chip with the flits on its links: {name}"
        svg = Markup(floor_plan.floor_plan_svg(plan, links[name], numbers, most, label))
        in_use = tables.plural(len(links[name]), "link")
        busiest = tables.plural(floor_plan.most_flits(links[name]), "flit")
        detail = f"{in_use} in use, the busiest carries {busiest}"
        plans.append((name, detail, svg))
    return {
        "plans": plans,
        "plans_wide": plan["columns"] > 12,
        "scale": Markup(floor_plan.scale_svg(most)) if most else None,
        "port": plan.get("port"),
        "tile_count": f"{len(plan['tiles']):,} of {plan['columns'] * plan['rows']:,} tiles hold a layer",
        "not_drawn": max(floor_plan.not_drawn(plan, links[name]) for name in shown),
        "legend": [(n, floor_plan.colour_class(n), name) for name, n in numbers.items() if name in held],
        "colours": {n: floor_plan.colour_class(n) for n in numbers.values()},
    }
