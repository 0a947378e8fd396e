"""The page of several runs: what comparison.py finds, drawn and in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from cannon_fx.report import floor_plan
from cannon_fx.report.comparison import COSTS, RunResult, differences, layer_costs
from cannon_fx.report.data_tables import COSTS as HEADS
from cannon_fx.report.data_tables import Column, DataTable, layer_table
from cannon_fx.report.figures import Figure
from cannon_fx.report.headline import headline
from cannon_fx.report.history import line_figure
from cannon_fx.report.html import render_template
from cannon_fx.report.numbers import column, known, percent, percent_decimals, ratio


def render_comparison(runs: Sequence[RunResult]) -> str:
    """One self-contained page. The same runs give the same page."""
    figures = {figure.name: (figure.title, Markup(figure.svg)) for figure in comparison_figures(runs)}
    return render_template(
        "runs.html.j2",
        runs=runs,
        headlines=[headline(run.record) for run in runs],
        differences=differences(runs),
        results=result_rows(runs),
        layers={key: _layer_rows(costs) for key, costs in layer_costs(runs).items()},
        numbers={name: (number, floor_plan.colour_class(number)) for name, number in layer_numbers(runs).items()},
        figures=figures,
        plans=[name for name in figures if name.startswith("floor-plan-") and name != "floor-plan-scale"],
        curves=[name for name in figures if name.startswith("history-")],
        wide=max(floor_plan.of_method(run.record, run.method)["columns"] for run in runs) > 16,
    )


def result_rows(runs: Sequence[RunResult]) -> list[tuple[str, str, list[str], list[str]]]:
    """Name, method, then accuracy, energy, latency, EDP and density, and the ratios to the first run's costs."""
    results = [run.result for run in runs]
    decimals = percent_decimals(result["accuracy"] for result in results)
    columns = [column([result[key] for result in results]) for key in COSTS]
    rows = []
    for number, (run, result) in enumerate(zip(runs, results, strict=True)):
        cells = [percent(result["accuracy"], decimals), *(texts[number] for texts in columns)]
        ratios = [ratio(results[0][key], result[key]) for key in COSTS] if number else []
        rows.append((run.name, run.method, [*cells, percent(result["density"])], ratios))
    return rows


def _layer_rows(costs: dict[str, list[float | None]]) -> list[tuple[str, list[str]]]:
    """Name, then each run's cost."""
    texts = column([value for values in costs.values() for value in values])
    width = len(texts) // len(costs) if costs else 0
    return [(name, texts[k * width : (k + 1) * width]) for k, name in enumerate(costs)]


def layer_numbers(runs: Sequence[RunResult]) -> dict[str, int]:
    """The number that stands for each layer in all runs."""
    tiles = [tile for run in runs for tile in floor_plan.of_method(run.record, run.method)["tiles"]]
    return floor_plan.layer_numbers([layer["name"] for run in runs for layer in run.result["layers"]], tiles)


def comparison_figures(runs: Sequence[RunResult]) -> list[Figure]:
    """The floor plans on one scale with one numbering of layers, and the curves of all runs in one picture each."""
    most = floor_plan.most_flits(*(run.result["links"] for run in runs))
    numbers = layer_numbers(runs)
    figures = []
    for number, run in enumerate(runs, start=1):
        title = f"{run.name}: {run.method}"
        svg = floor_plan.floor_plan_svg(floor_plan.of_method(run.record, run.method), run.result, numbers, most, title)
        figures.append(Figure(f"floor-plan-{number}", title, svg))
    if most:
        figures.append(Figure("floor-plan-scale", "Flits on a link, per inference", floor_plan.scale_svg(most)))
    rows = [
        {**row, "method": run.name}
        for run in runs
        for row in run.record.get("history") or []
        if row["method"] == run.method
    ]
    names = [run.name for run in runs]
    for key, name, words in (
        ("accuracy", "history-accuracy", "Accuracy"),
        ("energy_pj", "history-energy", "Communication energy"),
    ):
        if any(known(row.get(key)) for row in rows):
            figures.append(line_figure(name, f"{words} over the epochs", rows, names, key))
    return figures


def comparison_tables(runs: Sequence[RunResult]) -> list[DataTable]:
    """What differs, the results and the layers, as numbers."""
    names, different = [run.name for run in runs], differences(runs)
    results = [run.result for run in runs]
    options = [Column(name, name, tuple(row[k] for row in different.values())) for k, name in enumerate(names)]
    costs: list[Any] = [Column(key, head, tuple(result.get(key) for result in results)) for key, head in HEADS.items()]
    methods = Column("method", "method", tuple(run.method for run in runs))
    found = [
        DataTable("differences", (Column("option", "option", tuple(different)), *options)),
        DataTable("results", (Column("run", "run", tuple(names)), methods, *costs)),
        layer_table("layers", dict(zip(names, results, strict=True))),
    ]
    return [table for table in found if table.columns[0].values]
