"""`cannon report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reports import record_of_a_run

from cannon_fx.report import write_report

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """Two runs in runs/a and runs/b."""
    record = record_of_a_run()
    write_report(record, tmp_path / "runs" / "a")
    write_report({**record, "seed": 1}, tmp_path / "runs" / "b")
    return record, tmp_path / "runs"


def test_the_page_is_made_again(cannon: Cannon, runs: tuple[dict[str, Any], Path], capsys: Output) -> None:
    _, folder = runs
    page = folder / "a" / "report.html"
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    page.unlink()
    assert cannon("report", "runs/a") == 0
    assert capsys.readouterr().out == "report: runs/a/report.html\n"
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before
    assert cannon("report", "runs/a", "--out", "elsewhere.html") == 0
    assert Path("elsewhere.html").read_bytes() == before["report.html"]


def test_runs_are_compared(cannon: Cannon, runs: tuple[dict[str, Any], Path], capsys: Output) -> None:
    assert cannon("report", "runs/a", "runs/b") == 0
    assert capsys.readouterr().out == "report: comparison.html\n"
    assert "What was done differently" in Path("comparison.html").read_text("utf-8")


def test_json_writes_no_page(cannon: Cannon, runs: tuple[dict[str, Any], Path], capsys: Output) -> None:
    record, _ = runs
    before = sorted(Path().rglob("*"))
    assert cannon("report", "runs/a", "runs/b", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == {"seed": ["0", "1"]}
    assert [run["name"] for run in found["runs"]] == ["a", "b"]
    assert found["runs"][0]["methods"]["cannon"]["energy_pj"] == record["methods"]["cannon"]["energy_pj"]
    assert sorted(Path().rglob("*")) == before
    assert cannon("report", "runs/a", "--json", "--out", "page.html") == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["headline"].startswith("3.00x less")
    assert Path("page.html").exists()


def test_figures_and_tables(cannon: Cannon, runs: tuple[dict[str, Any], Path], capsys: Output) -> None:
    pytest.importorskip("resvg_py")
    assert cannon("report", "runs/a", "--figures", "paper") == 0
    assert "figures and tables: 36 files in paper" in capsys.readouterr().out
    endings = [path.suffix for path in Path("paper").iterdir()]
    assert {end: endings.count(end) for end in set(endings)} == {".svg": 10, ".png": 10, ".csv": 8, ".tex": 8}
    assert cannon("report", "runs/a", "runs/b", "--figures", "both") == 0
    assert {"floor-plan-2.png", "history-energy.svg", "results.csv", "layers.tex"} <= {
        path.name for path in Path("both").iterdir()
    }


MISTAKES = {
    "no run": ([], "no run was named"),
    "no folder": (["nowhere"], "'nowhere' is no finished run"),
    "twice": (["runs/a", "runs/a/."], "'runs/a' is named twice"),
    "damaged": (["torn"], "is no JSON"),
    "other schema": (["runs/a", "later"], "has schema 9"),
    "page in no folder": (["runs/a", "--out", "no/page.html"], "--out 'no/page.html' is in a folder that"),
    "page is a folder": (["runs/a", "--out", "runs"], "cannot write 'runs'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, cannon: Cannon, runs: tuple[dict[str, Any], Path], capsys: Output) -> None:
    for name, text in (("torn", '{"schema": 1, '), ("later", '{"schema": 9}')):
        Path(name).mkdir()
        (Path(name) / "report.json").write_text(text)
    before = sorted(Path().rglob("*"))
    words, expected = MISTAKES[mistake]
    assert cannon("report", *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("cannon: ")
    assert expected in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before
