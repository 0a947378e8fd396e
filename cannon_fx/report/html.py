"""Render a run's record as one self-contained page: no script, font or image from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cannon_fx.report import floor_plan, headline, tables
from cannon_fx.report.bars import MOST
from cannon_fx.report.constants import chip_sections
from cannon_fx.report.efficiency import COLUMNS, efficiency_table, quantised_rows
from cannon_fx.report.pictures import figures_of, layer_numbers


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


def render_html(record: Mapping[str, Any]) -> str:
    """The page of `record` (the content of report.json). The same record gives the same page."""
    return render_template("template.html.j2", **_page(record))


def _page(record: Mapping[str, Any]) -> dict[str, Any]:
    methods = record["methods"]
    pair = headline.choose_pair(methods)
    numbers = layer_numbers(record, pair)
    layers, moves = tables.cost_rows(methods, pair, numbers)
    chip = record["chip"]
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
        "most_bars": MOST,
        "chip_sections": chip_sections(record),
        "run": tables.run_rows(record),
        "unmapped": record.get("unmapped") or [],
        "fallback_ops": record.get("fallback_ops") or [],
        "figures": {figure.name: (figure.title, Markup(figure.svg)) for figure in figures_of(record)},
        **_floor_plans(record, pair, numbers),
    }


def _floor_plans(record: Mapping[str, Any], pair: headline.Pair, numbers: Mapping[str, int]) -> dict[str, Any]:
    """What stands around the floor plans, and what highlight.js.j2 says of them."""
    shown = {when: name for when, name in (("before", pair.before), ("after", pair.after)) if name is not None}
    floors = {when: floor_plan.of_method(record, name) for when, name in shown.items()}
    held = {tile["layer"] for floor in floors.values() for tile in floor["tiles"]}
    plans = []
    for when, name in shown.items():
        links = record["methods"][name]["links"]
        busiest = tables.plural(floor_plan.most_flits(links), "flit")
        tiles, places = len(floors[when]["tiles"]), floors[when]["columns"] * floors[when]["rows"]
        detail = (
            f"{tiles:,} of {places:,} tiles hold a layer; {tables.plural(len(links), 'link')} in use, the busiest "
            f"carries {busiest}"
        )
        plans.append((f"floor-plan-{when}", name, detail, record["methods"][name]["phases"]))
    return {
        "plans": plans,
        "plans_wide": max(floor["columns"] for floor in floors.values()) > 16,
        "port": any(floor.get("port") for floor in floors.values()),
        "legend": [(n, floor_plan.colour_class(n), name) for name, n in numbers.items() if name in held],
        "colours": {n: floor_plan.colour_class(n) for n in numbers.values()},
    }
