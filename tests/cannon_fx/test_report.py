"""The report: honest sentences, safe and self-contained HTML, one scale for all floor plans, whole files."""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cannon_fx.atomic import atomic_write_bytes, atomic_write_text
from cannon_fx.report import floor_plan, render_html, write_report
from cannon_fx.report.figures import history_figures
from cannon_fx.report.headline import budget_verdict, choose_pair, headline
from cannon_fx.report.numbers import NOTHING, TIMES, column, percent, percent_decimals, quantity, ratio
from cannon_fx.report.write import HISTORY_COLUMNS

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def method(energy: float, accuracy: float = 0.99, flits: int = 100, name: str = "stem") -> dict[str, Any]:
    layer = {
        "name": name, "kind": "conv2d", "weight_shape": [32, 16, 3, 3], "row_blocks": 2, "column_blocks": 1,
        "utilisation": 0.5, "connections": 16, "kept": 12, "density": 0.75, "flits": flits,
        "energy_pj": energy, "latency_cycles": 10.0,
    }  # fmt: skip
    return {
        "accuracy": accuracy, "energy_pj": energy, "static_energy_pj": 5.0, "latency_cycles": 10.0,
        "edp_pj_cycles": 10 * energy, "density": 0.75, "latency_model": "analytic", "epochs": 2,
        "energy_shares_pj": {"input": 0.6 * energy, "partial_sum": 0.3 * energy, "move": 0.1 * energy},
        "layers": [layer, {**layer, "name": "head", "kind": "linear", "weight_shape": [10, 16]}],
        "moves": [
            {"name": "add", "op": "aten.add.Tensor", "flits": 4, "energy_pj": energy / 9, "latency_cycles": 3}
        ],
        "compute": {
            "crossbar_pj": 1.0, "driver_pj": 2.0, "adc_pj": 3.0, "shift_add_pj": 4.0, "accumulate_pj": 5.0,
            "energy_pj": energy / 3, "latency_cycles": 77.0,
        },
        "links": [
            {"from": [0, 0], "to": [1, 0], "flits": flits},
            {"from": [1, 0], "to": [0, 0], "flits": flits // 4},
        ],
    }  # fmt: skip


@pytest.fixture
def record() -> dict[str, Any]:
    tiles = [
        {"tile": 0, "x": 0, "y": 0, "layer": "stem", "row_block": 0, "column_block": 0},
        {"tile": 1, "x": 1, "y": 0, "layer": "stem", "row_block": 1, "column_block": 0},
        {"tile": 2, "x": 1, "y": 1, "layer": "head", "row_block": 0, "column_block": 0},
    ]
    history = [
        {
            "method": name, "epoch": epoch, "phase": "sparsify" if epoch < 2 else "fine-tune", "loss": 0.5,
            "train_accuracy": 0.9, "accuracy": 0.9 + epoch / 100, "energy_pj": 900.0 / epoch,
            "latency_cycles": 10.0, "density": 0.8, "strength": 0.01, "seconds": 1.5,
        }
        for name in ("cost-blind", "cannon")
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    return {
        "schema": 1, "command": "cannon optimize --seed 0",
        "versions": {"cannon_fx": "0.1.0", "torch": "2.13.0"}, "network": "digits-resnet", "data": "digits",
        "seed": 0, "device": "cpu", "budget": "energy/3",
        "seconds": 12.5,
        "chip": {"name": "demo-32nm", "noc": {"flit_bits": 32, "columns": None, "port": [0, 0]}},
        "methods": {
            "dense": method(900.0), "cost-blind": method(600.0, 0.98, 60), "cannon": method(300.0, 0.988, 25),
        },
        "floor_plan": {"columns": 2, "rows": 2, "port": [0, 0], "tiles": tiles},
        "unmapped": [{"name": "dw", "reason": "grouped convolution"}], "fallback_ops": ["aten.softmax.int"],
        "history": history,
    }  # fmt: skip


class Page(HTMLParser):
    """All start tags with their attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.skip = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.skip = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.skip = False

    def handle_data(self, data: str) -> None:
        if not self.skip:
            self.words.append(data)


def rename(record: dict[str, Any], old: str, new: str) -> None:
    layers = [layer for numbers in record["methods"].values() for layer in numbers["layers"]]
    for entry in [*record["floor_plan"]["tiles"], *layers]:
        for key in ("name", "layer"):
            if entry.get(key) == old:
                entry[key] = new


def svgs(html: str, css_class: str) -> list[ElementTree.Element]:
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    return [svg for svg in found if svg.get("class") == css_class]


def links_of(svg: ElementTree.Element) -> dict[int, float]:
    """flits -> width of the links of a plan: the distance between the harpoon's two parallel edges."""
    widths = {}
    for shape in svg.iter("{http://www.w3.org/2000/svg}polygon"):
        points = [tuple(map(float, pair.split(","))) for pair in shape.attrib["points"].split()]
        (x0, y0), (x1, y1) = points[0], points[-1]
        widths[int(shape.attrib["data-flits"])] = abs(x0 - x1) + abs(y0 - y1)
    return widths


def test_a_hostile_layer_name_stays_text(record: dict[str, Any]) -> None:
    calm = Page(render_html(record))
    rename(record, "stem", HOSTILE)
    record["network"] = record["unmapped"][0]["reason"] = HOSTILE
    page = Page(render_html(record))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in calm.tags]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text


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
        f"32{TIMES}16{TIMES}3{TIMES}3", "grouped convolution", "aten.softmax.int", "flit_bits", "not set",
        "cannon optimize --seed 0",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (3.0, 1.0, "3.00x less"),
        (0.3, 0.1, "3.00x less"),
        (2.999, 1.0, "2.99x less"),  # never rounded up
        (1.0, 1.101, "1.11x more"),  # a loss is never rounded down
        (12345.0, 1.0, "12,345.00x less"),
        (1.0, 1.0, "same"),
        (1.0, 0.999, "same"),
        (0.0, 0.0, "same"),
        (5.0, 0.0, "none left"),
        (0.0, 5.0, "up from zero"),
        (None, 1.0, NOTHING),
        (1.0, float("nan"), NOTHING),
    ],
)
def test_ratio(before: float | None, after: float | None, text: str) -> None:
    assert ratio(before, after) == text


def test_numbers_line_up_and_never_show_something_as_zero() -> None:
    assert column([1234567.8, 0.2, 0.0, None]) == ["1,234,568", "<1", "0", NOTHING]
    assert column([12.346, 1.0]) == ["12.35", "1.00"]
    assert column([3, 12]) == ["3", "12"]
    assert quantity(1.5e11) == f"1.50 {TIMES} 10¹¹"
    assert quantity(2e-5) == f"2.00 {TIMES} 10⁻⁵"
    assert percent_decimals([0.99, 0.9896]) == 2
    assert percent(0.9997, percent_decimals([0.9997])) == "99.97"  # not 100.0


def test_headline_is_honest(record: dict[str, Any]) -> None:
    after, dense = record["methods"]["cannon"], record["methods"]["dense"]
    assert headline(record) == (
        "3.00x less communication energy at 98.8 % accuracy (dense: 99.0 %): accuracy falls by 0.2 points"
    )
    after["accuracy"] = 0.9897
    assert headline(record).endswith("98.97 % accuracy (dense: 99.00 %): accuracy falls by 0.03 points")
    after["accuracy"] = 0.995
    assert "falls" not in headline(record)
    after["energy_pj"] = 1000.0
    assert headline(record).startswith("1.12x more communication energy, not less, at 99.5 %")
    assert "not met" in budget_verdict(record)
    after["energy_pj"] = dense["energy_pj"]
    assert headline(record).startswith("No less communication energy than dense")
    after["accuracy"] = None
    assert headline(record).endswith("accuracy not measured")


def test_the_pair() -> None:
    assert choose_pair({"dense": 0, "cannon": 0, "filter": 0}).after == "cannon"
    assert choose_pair({"dense": 0, "filter": 0, "cost-blind": 0}).after == "cost-blind"
    assert choose_pair({"cannon": 0}).before is None
    with pytest.raises(ValueError, match="no methods"):
        choose_pair({})


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
    assert [name for name, _ in history_figures(record)] == ["Communication energy over the epochs"]
    assert "accuracy not measured" in Page(render_html(record)).text


def test_same_record_same_bytes(record: dict[str, Any]) -> None:
    before = copy.deepcopy(record)
    assert render_html(record) == render_html(copy.deepcopy(record))
    assert record == before


def test_drawing_leaves_the_settings_of_matplotlib_alone(record: dict[str, Any]) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    figures = history_figures(record)
    assert dict(matplotlib.rcParams) == before
    for _, svg in figures:
        ElementTree.fromstring(svg)
        assert "currentColor" in svg
        assert not re.search(r"(?:fill|stroke): #", svg)  # no colour of its own: the page's theme decides
    identifiers = [name for _, svg in figures for name in re.findall(r' id="([^"]*)"', svg)]
    assert len(identifiers) == len(set(identifiers))


def test_floor_plan_shows_every_tile_once_and_every_link(record: dict[str, Any]) -> None:
    plans = svgs(render_html(record), "chip")
    assert len(plans) == 2
    for svg in plans:
        tiles = [group.attrib["data-tile"] for group in svg.iter() if "data-tile" in group.attrib]
        assert sorted(tiles) == ["0", "1", "2"]
        titles = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}title")]
        assert "tile 1 at (1, 0): stem, row block 1, column block 0" in titles
        assert titles.count("tile at (0, 1): empty") == 1
        assert titles.count("I/O port at (0, 0)") == 1
        assert sum("→" in title for title in titles) == 8  # four pairs of neighbours, both directions
    assert "(1, 0) → (0, 0): 25 flits" in "".join(plans[0].itertext())


def test_link_widths_share_one_scale(record: dict[str, Any]) -> None:
    dense, cannon = (links_of(svg) for svg in svgs(render_html(record), "chip"))
    assert dense[100] == pytest.approx(floor_plan.WIDEST)
    assert cannon[25] == pytest.approx(dense[25]) == pytest.approx(floor_plan.WIDEST / 4)
    assert 0 < dense[0] < cannon[6]
    heats = [floor_plan.heat_class(flits, 100) for flits in (0, 1, 7, 13, 26, 51, 100)]
    assert heats == ["h0", "h1", "h2", "h3", "h4", "h5", "h5"]


def test_a_link_that_joins_no_neighbours_is_counted(record: dict[str, Any]) -> None:
    record["methods"]["cannon"]["links"].append({"from": [0, 0], "to": [1, 1], "flits": 3})
    assert "Not drawn: 1 links" in Page(render_html(record)).text


def test_files(record: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    write_report(record, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.csv", "report.html", "report.json"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == record
    rows = list(csv.DictReader((folder / "metrics.csv").open(encoding="utf-8", newline="")))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [float(row["energy_pj"]) for row in rows] == [row["energy_pj"] for row in record["history"]]


def test_files_of_a_run_that_diverged(record: dict[str, Any], tmp_path: Path) -> None:
    record["history"][0].update(loss=float("nan"), extra=7)
    write_report(record, tmp_path)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["history"][0]["loss"] is None
    header = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == ",".join([*HISTORY_COLUMNS, "extra"])
    record["history"] = []
    write_report(record, tmp_path)
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8") == ",".join(HISTORY_COLUMNS) + "\n"


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_failed_write_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old\n")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [path]


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
