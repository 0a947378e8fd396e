"""The floor plan: every tile, every link, one scale."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from reports import svgs

from cannon_fx.report import floor_plan, render_html


def links_of(svg: ElementTree.Element) -> dict[int, float]:
    """flits -> width of the links of a plan: the distance between the harpoon's two parallel edges."""
    widths = {}
    for shape in svg.iter("{http://www.w3.org/2000/svg}polygon"):
        points = [tuple(map(float, pair.split(","))) for pair in shape.attrib["points"].split()]
        (x0, y0), (x1, y1) = points[0], points[-1]
        widths[int(shape.attrib["data-flits"])] = abs(x0 - x1) + abs(y0 - y1)
    return widths


def test_floor_plan_shows_every_tile_once_and_every_link(record: dict[str, Any]) -> None:
    plans = svgs(render_html(record), "chip")
    assert len(plans) == 2
    for svg in plans:
        tiles = [group.attrib["data-tile"] for group in svg.iter() if "data-tile" in group.attrib]
        assert sorted(tiles) == ["0", "1", "2"]
        titles = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}title")]
        assert "tile 1 at (1, 0): stem, row block 1, column block 0, 15.0 % of its cells in use" in titles
        assert titles.count("tile at (0, 1): empty") == 1
        assert titles.count("I/O port at (0, 0)") == 1
        assert sum("→" in title for title in titles) == 2
        idle = next(shape for shape in svg.iter() if shape.get("class") == "idle")
        assert idle.attrib["d"].count("M") == 6  # of four pairs of neighbours, in both directions
    assert "(1, 0) → (0, 0): 25 flits" in "".join(plans[0].itertext())


def test_links_carry_their_largest_transfers(record: dict[str, Any]) -> None:
    links = [shape.attrib for shape in svgs(render_html(record), "chip")[0].iter() if "data-transfers" in shape.attrib]
    assert {(link["data-at"], link["data-transfers"]) for link in links} == {
        ("0,0-1,0", "5 0 -1 1 91 2 0 2 6"),
        ("1,0-0,0", "1 1 1 0 25"),
    }


def test_a_tile_is_filled_as_far_as_it_is_used(record: dict[str, Any]) -> None:
    dense = svgs(render_html(record), "chip")[0]
    tiles = [group for group in dense.iter() if "data-tile" in group.attrib]
    spare = [rect.attrib for group in tiles for rect in group if rect.get("class") == "spare"]
    assert [float(each["height"]) / floor_plan.SIDE for each in spare] == pytest.approx([0.4, 0.85, 0], abs=1e-2)


def test_a_method_without_the_tiles_of_the_plan(record: dict[str, Any]) -> None:
    """One that takes out filters has fewer of them."""
    record["methods"]["dense"]["layers"][0].update(row_blocks=1, tile_utilisation=[[0.5]])
    titles = [element.text for element in svgs(render_html(record), "chip")[0].iter() if element.tag.endswith("title")]
    assert "tile 1 at (1, 0): stem, row block 1, column block 0" in titles


def test_link_widths_share_one_scale(record: dict[str, Any]) -> None:
    dense, cannon = (links_of(svg) for svg in svgs(render_html(record), "chip"))
    assert dense[100] == pytest.approx(floor_plan.WIDEST)
    assert cannon[25] == pytest.approx(dense[25]) == pytest.approx(floor_plan.WIDEST / 4)
    assert cannon[6] == pytest.approx(floor_plan.THINNEST)
    heats = [floor_plan.heat_class(flits, 100) for flits in (1, 7, 13, 26, 51, 100)]
    assert heats == ["h1", "h2", "h3", "h4", "h5", "h5"]


def test_links_of_other_networks_go_from_centre_to_centre(record: dict[str, Any]) -> None:
    """As those of a tree, whose routers stand below the tiles, and those of a torus, which pass under tiles."""
    record["floor_plan"].update(columns=4, rows=1, port=[1.5, 1], tiles=record["floor_plan"]["tiles"][:2])
    record["floor_plan"]["links"] = [[0, 0, 1.5, 1], [1.5, 1, 0, 0], [0, 0, 2, 0]]
    links = [{"from": [0, 0], "to": [1.5, 1], "flits": 5, "transfers": 1, "largest": [[0, 0, 1, 5]]}]
    for method in record["methods"].values():
        method["links"] = links
    svg = svgs(render_html(record), "chip")[0]
    height = float(svg.attrib["viewBox"].split()[3])
    (link,) = (shape for shape in svg.iter() if "data-flits" in shape.attrib)
    assert link.attrib["data-at"] == "0,0-1.5,1"
    points = [tuple(map(float, pair.split(","))) for pair in link.attrib["points"].split()]
    begin, end = points[0], points[1]
    whole = floor_plan.PITCH * np.hypot(1.5, 1)
    assert np.hypot(end[0] - begin[0], end[1] - begin[1]) == pytest.approx(whole - 2, rel=1e-3)
    assert all(0 <= y <= height for _, y in points)
    (idle,) = (shape.attrib["d"] for shape in svg.iter() if shape.get("class") == "idle")
    assert idle.count("M") == 2
