"""The page: safe, self-contained, the same for the same record, and right where numbers are missing."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from reports import HOSTILE, Page, rename, svgs

from cannon_fx.report import render_html
from cannon_fx.report.headline import headline
from cannon_fx.report.history import history_figures
from cannon_fx.report.numbers import TIMES


def test_a_hostile_layer_name_stays_text(record: dict[str, Any]) -> None:
    """Names of layers, methods, ops, constants and all other text: in tables, figures, attributes and the script."""
    calm, page = (Page(render_html(rename(record, end))) for end in ("!" * len(HOSTILE), HOSTILE))
    drawn = ("g", "text", "path", "use")  # axes have fewer ticks where names take their room
    tags, expected = ([(t, sorted(a)) for t, a in each.tags if t not in drawn] for each in (page, calm))
    assert tags == expected
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for words in ("stem", "digits-resnet", "cost-blind", "aten.add.Tensor", "grouped convolution", "as BookSim2"):
        assert words + HOSTILE in page.text
    (script, *_) = re.findall(r'<script type="application/json">(.*?)</script>', render_html(rename(record, HOSTILE)))
    assert json.loads(script)[0] == ["input" + HOSTILE, "stem" + HOSTILE]


def test_the_page_fetches_nothing(record: dict[str, Any]) -> None:
    html = render_html(record)
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert re.match(r"#|data:,$", attributes.get(name) or "#"), attributes
    for address in re.findall(r"https?://[^\"' )]*", html):
        assert address.startswith("http://www.w3.org/"), address  # names of XML namespaces, never fetched
    assert "@import" not in html
    assert "url(http" not in html


def test_the_page_shows_the_numbers(record: dict[str, Any]) -> None:
    text = Page(render_html(record)).text
    for words in (
        "3.00x less communication energy at 98.8 % accuracy (dense: 99.0 %)",
        "Budget energy/3: met", "Transfers are unicast;", "Latency model: analytic", "12 / 16", "2.13.0",
        f"32{TIMES}16{TIMES}3{TIMES}3", "grouped convolution", "aten.softmax.int", "flit_bits",
        "Table 2 of the paper", "as BookSim2", "router_pj_per_flit", "1.306", "60.0 % of its cells in use",
        "cannon optimize --seed 0",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("only", ["dense", "cannon", "cost-blind"])
def test_one_method(record: dict[str, Any], only: str) -> None:
    record["methods"] = {only: record["methods"][only]}
    html = render_html(record)
    assert len(svgs(html, "chip")) == 1
    assert headline(record).startswith(f"{only}: ")
    assert "less" not in Page(html).text


def test_without_history_tiles_links_or_notes(record: dict[str, Any]) -> None:
    record.update(history=[], unmapped=[], fallback_ops=[], chip={})
    record["floor_plan"].update(columns=1, rows=1, tiles=record["floor_plan"]["tiles"][:1])
    for numbers in record["methods"].values():
        numbers.update(links=[], moves=[], energy_shares_pj={"input": 0.0, "partial_sum": 0.0, "move": 0.0})
    page = Page(render_html(record))
    assert "No epochs were recorded" in page.text
    assert "Outside the mapping" not in page.text


def test_missing_numbers(record: dict[str, Any]) -> None:
    for numbers in record["methods"].values():
        numbers["accuracy"] = None
    for row in record["history"]:
        row.update(accuracy=None, loss=float("nan"))
    assert [figure.name for figure in history_figures(record)] == ["history-energy"]
    assert "accuracy not measured" in Page(render_html(record)).text


def test_same_record_same_bytes(record: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    assert render_html(record) == render_html(copy.deepcopy(record))
    assert record == before


def test_computing_stands_apart_with_communications_share(record: dict[str, Any]) -> None:
    page = Page(render_html(record))
    assert "Beside it: computing" in page.text
    assert "communication's share, %" in page.text
    assert "75.0" in page.text
    for method_record in record["methods"].values():
        method_record["compute"] = None
    assert "Beside it" not in Page(render_html(record)).text


def test_the_page_says_how_transfers_are_sent(record: dict[str, Any]) -> None:
    assert "Transfers are unicast;" in Page(render_html(record)).text
    record["chip"]["noc"]["multicast"] = True
    assert "Transfers are multicast" in Page(render_html(record)).text
