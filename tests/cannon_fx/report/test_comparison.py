"""Several runs: what differs, and every layer of each."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from reports import HOSTILE, Page, rename, svgs

from cannon_fx.errors import RunError
from cannon_fx.report import write_report
from cannon_fx.report.comparison import RunResult, as_json, differences, read_runs
from cannon_fx.report.comparison_page import comparison_figures, render_comparison


@pytest.fixture
def folders(record: dict[str, Any], tmp_path: Path) -> list[Path]:
    """Two runs; the second has another seed, budget and flit width, one layer more, and half the energy."""
    other = copy.deepcopy(record)
    other.update(seed=1, budget="energy/6")
    other["chip"]["noc"]["flit_bits"] = 64
    after = other["methods"]["cannon"]
    after["energy_pj"] = 150.0
    after["layers"].append({**after["layers"][0], "name": "extra", "energy_pj": 7.0})
    found = [tmp_path / "a", tmp_path / "b"]
    for folder, each, epochs in zip(found, (record, other), (3, 5), strict=True):
        write_report(each, folder)
        (folder / "config.toml").write_text(f'model = "digits-resnet"\nepochs = {epochs}\nlearning_rate = 0.05\n')
    return found


def test_what_was_done_differently(folders: list[Path]) -> None:
    assert differences(read_runs(folders)) == {
        "budget": ["energy/3", "energy/6"],
        "seed": ["0", "1"],
        "epochs": ["3", "5"],
        "chip: noc.flit_bits": ["32", "64"],
    }
    (folders[1] / "config.toml").unlink()  # a record alone is a run too
    assert differences(read_runs(folders))["epochs"] == ["3", ""]


def test_the_page_shows_both(folders: list[Path]) -> None:
    html = render_comparison(read_runs(folders))
    text = Page(html).text
    for words in ("3.00x less communication energy at", "6.00x less communication energy at", "2.00x less", "extra"):
        assert words in text
    assert text.count("cannon optimize --seed 0") == 2
    assert len(svgs(html, "chip")) == 2
    assert html == render_comparison(read_runs(folders))


def test_all_curves_are_in_one_picture(folders: list[Path]) -> None:
    figures = {figure.name: figure.svg for figure in comparison_figures(read_runs(folders))}
    for name in ("history-accuracy", "history-energy"):
        assert ">a<" in figures[name]
        assert ">b<" in figures[name]


def test_json_holds_the_numbers(folders: list[Path]) -> None:
    found = as_json(read_runs(folders))
    assert [run["methods"]["cannon"]["energy_pj"] for run in found["runs"]] == [300.0, 150.0]
    assert found["layers"]["energy_pj"] == {"stem": [300.0, 300.0], "head": [300.0, 300.0], "extra": [None, 7.0]}


def test_names(folders: list[Path], record: dict[str, Any], tmp_path: Path) -> None:
    twin = tmp_path / "elsewhere" / "a"
    write_report(record, twin)
    assert [run.name for run in read_runs(folders)] == ["a", "b"]
    assert [run.name for run in read_runs([folders[0], twin])] == [str(folders[0]), str(twin)]
    with pytest.raises(RunError, match="is named twice"):
        read_runs([folders[0], tmp_path / "elsewhere" / ".." / "a"])
    (twin / "config.toml").write_text("epochs = ")
    with pytest.raises(RunError, match=r"cannot read .*config\.toml"):
        read_runs([twin])


def test_hostile_names_stay_text(record: dict[str, Any]) -> None:
    pages = [
        Page(render_comparison([RunResult(k + end, Path(), rename(record, k + end), {end: k + end}) for k in "ab"]))
        for end in ("!", HOSTILE)
    ]
    assert [tag for tag, _ in pages[0].tags] == [tag for tag, _ in pages[1].tags]
    assert "stema" + HOSTILE in pages[1].text
