"""Figures that matplotlib draws: the page decides their colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.report.bars import MOST, layer_figures
from cannon_fx.report.headline import Pair
from cannon_fx.report.history import history_figures, pareto_front
from cannon_fx.report.pictures import figures_of


def test_every_figure_is_xml_with_a_name_and_ids_of_its_own(record: dict[str, Any]) -> None:
    figures = figures_of(record)
    assert [figure.name for figure in figures] == [
        "energy-shares", "floor-plan-before", "floor-plan-after", "floor-plan-scale", "layer-energy", "layer-latency",
        "connections", "history-accuracy", "history-energy", "pareto",
    ]  # fmt: skip
    for figure in figures:
        ElementTree.fromstring(figure.svg)
    identifiers = [name for figure in figures for name in re.findall(r' id="([^"]*)"', figure.svg)]
    assert len(identifiers) == len(set(identifiers))


def test_drawing_leaves_the_settings_of_matplotlib_alone(record: dict[str, Any]) -> None:
    before = dict(matplotlib.rcParams)
    figures = [*history_figures(record), *layer_figures(record["methods"], Pair("dense", "cannon"))]
    assert dict(matplotlib.rcParams) == before
    for svg in [figure.svg for figure in figures]:
        assert "currentColor" in svg
        assert not re.search(r"(?:fill|stroke): #", svg)  # no colour of its own: the page's theme decides


def bars_of(svg: str) -> list[float]:
    """The lengths of all bars, in order of drawing: they are the clipped shapes that are filled."""
    paths = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: var', svg)
    ends = [[float(x) for x in re.findall(r"[ML] ([\d.]+) ", path)] for path in paths]
    return [max(x) - min(x) for x in ends]


def test_bars_are_as_long_as_the_costs(record: dict[str, Any]) -> None:
    energy, _ = layer_figures(record["methods"], Pair("dense", "cannon"))
    dense, cannon = (
        [row["energy_pj"] for row in record["methods"][name]["layers"] + record["methods"][name]["moves"]]
        for name in ("dense", "cannon")
    )
    bars = bars_of(energy.svg)
    assert len(bars) == len(dense + cannon)
    assert [bar / bars[0] for bar in bars] == pytest.approx([pj / dense[0] for pj in dense + cannon], rel=1e-3)


def test_of_many_layers_the_costliest_are_drawn_in_order(record: dict[str, Any]) -> None:
    for name in ("dense", "cannon"):
        method = record["methods"][name]
        layer = method["layers"][0]
        method["layers"] = [{**layer, "name": f"layer{k}", "energy_pj": float(k)} for k in range(MOST + 20)]
        method["moves"] = []
    energy, _ = layer_figures(record["methods"], Pair("dense", "cannon"))
    drawn = re.findall(r">(layer\d+)<", energy.svg)
    assert drawn == [f"layer{k}" for k in range(20, MOST + 20)]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    def beaten(cost: int, value: int) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)

    assert pareto_front(points) == sorted({point for point in points if not beaten(*point)})
