"""Figures and tables as files: whole documents, the record's numbers, nothing that LaTeX would take for a command."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reports import HOSTILE, rename

from cannon_fx.errors import RunError
from cannon_fx.report.data_tables import data_tables
from cannon_fx.report.paper import write_paper
from cannon_fx.report.pictures import figures_of
from cannon_fx.report.standalone import PNG_WIDTH, png_file, svg_file
from cannon_fx.report.table_files import LATEX, csv_file, escape, latex_file


@pytest.mark.parametrize("end", ["", HOSTILE, "$x_{", "var(--ink)"])
def test_an_svg_needs_no_page(record: dict[str, Any], end: str) -> None:
    for figure in figures_of(rename(record, end)):
        root = ElementTree.fromstring(svg_file(figure.svg))
        styles = [element.text or "" for element in root.iter() if element.tag.endswith("style")]
        attributes = [value for element in root.iter() for value in element.attrib.values()]
        assert styles
        assert not any("var(" in text or "currentColor" in text for text in styles + attributes)
        assert float(root.attrib["width"]) > 0


def test_the_name_of_a_layer_is_no_colour(record: dict[str, Any]) -> None:
    (masks,) = (figure for figure in figures_of(rename(record, "var(--ink)")) if figure.name == "connections")
    assert "1 stemvar(--ink)" in "".join(ElementTree.fromstring(svg_file(masks.svg)).itertext())


def test_a_png_shows_the_colours_of_the_layers(record: dict[str, Any]) -> None:
    pytest.importorskip("resvg_py")
    (plan,) = (figure for figure in figures_of(record) if figure.name == "floor-plan-before")
    picture = Image.open(io.BytesIO(png_file(svg_file(plan.svg)))).convert("RGB")
    assert picture.width == PNG_WIDTH
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert (0xEE, 0xDD, 0x88) in colours  # layer 2, whose tile is full
    assert (0x77, 0xAA, 0xDD) in colours  # layer 1, where its tiles are used
    assert (0x11, 0x11, 0x11) in colours  # letters
    assert picture.getpixel((0, picture.height - 1)) == (255, 255, 255)


def test_csv_holds_the_record(record: dict[str, Any]) -> None:
    tables = {table.name: list(csv.DictReader(io.StringIO(csv_file(table)))) for table in data_tables(record)}
    assert list(tables) == ["summary", "energy-shares", "computing", "layers", "moves", "chip", "unmapped", "run"]
    for row in tables["summary"]:
        method = record["methods"][row["method"]]
        for key in ("accuracy", "energy_pj", "latency_cycles", "edp_pj_cycles", "density"):
            assert float(row[key]) == method[key]
        assert row["simulated_latency_cycles"] == ""
    assert [row["cannon energy_pj"] for row in tables["layers"]] == ["300.0", "300.0"]
    row = {"section": "noc", "constant": "flit_bits", "value": "32", "source": "Table 2 of the paper"}
    assert row in tables["chip"]


def test_latex_is_a_row_per_row(record: dict[str, Any]) -> None:
    for table in data_tables(rename(record, HOSTILE + "&\\\n")):
        lines = latex_file(table).splitlines()
        rows = [line for line in lines if line.endswith(r" \\")]
        assert len(rows) == 1 + len(table.columns[0].values)
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(table.columns) - 1
        assert (lines[1], lines[3], lines[-2]) == (r"\toprule", r"\midrule", r"\bottomrule")


def test_latex_prints_numbers_as_the_page_does(record: dict[str, Any]) -> None:
    (summary,) = (table for table in data_tables(record) if table.name == "summary")
    assert r"cannon & 98.8 & -- & 300 & 5 & 10 & -- & 3,000 & 75.0 \\" in latex_file(summary).splitlines()


@given(st.text())
def test_escaped_text_has_no_commands_but_ours(text: str) -> None:
    rest = escape(text)
    for ours in sorted(set(LATEX.values()), key=len, reverse=True):
        rest = rest.replace(ours, "")
    assert not set(rest) & set("\\{}&%$#_~^<>\n\r\t")


def test_names_of_files_are_ours(record: dict[str, Any]) -> None:
    calm = {each.name for each in (*figures_of(record), *data_tables(record))}
    record["methods"]["../../etc"] = record["methods"].pop("cannon")
    hostile = rename(record, "/../..")
    assert {each.name for each in (*figures_of(hostile), *data_tables(hostile))} == calm


def test_files_of_a_paper(record: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="cannot write into"):
        write_paper([], data_tables(record), tmp_path / "file")
    paths = write_paper(figures_of(record)[:1], data_tables(record)[:1], tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["energy-shares.svg", "energy-shares.png", "summary.csv", "summary.tex"]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)
