"""`cannon map` of layer tables, and what it writes for other tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data" / "exchange"
NEUROSIM = ("--network-csv", str(DATA / "NetWork_neurosim.csv"), "--dialect", "neurosim")

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("file", "dialect", "layers"),
    [
        ("NetWork_neurosim.csv", "neurosim", ("layer1", "8x3x3x3", "layer5", "16x8x1x1", "layer7", "10x64")),
        ("NetWork_siam.csv", "siam", ("layer1", "4x1x5x5", "layer3", "10x72")),
        ("scale_sim.csv", "scale-sim", ("Conv2", "16x8x3x3", "train_3", "10x576")),
    ],
)
def test_layer_tables_are_mapped(
    file: str, dialect: str, layers: tuple[str, ...], cannon: Cannon, capsys: Output
) -> None:
    assert cannon("map", "--network-csv", str(DATA / file), "--dialect", dialect) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in layers)
    assert "siam-32nm" in out


def test_a_table_comes_back(cannon: Cannon, tmp_path: Path) -> None:
    words = (*NEUROSIM, "--chip", "demo-32nm", "--export", "neurosim-csv:back.csv", "trace:t.txt", "booksim:b")
    assert cannon("map", *words) == 0
    assert (tmp_path / "back.csv").read_text() == (DATA / "NetWork_neurosim.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"back.csv", "t.txt", "b"}


def test_the_written_trace_can_be_simulated(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    assert cannon("map", "--export", "booksim:b") == 0
    capsys.readouterr()
    assert cannon("simulate", "--trace", "b/trace.txt", "--router", "b/booksim.cfg", "--json") == 0
    assert json.loads(capsys.readouterr().out)["flits"] > 10_000


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "no dialect": (NEUROSIM[:2], "--network-csv needs --dialect"),
    "dialect alone": (("--dialect", "siam"), "--dialect says how to read a table"),
    "table and model": ((*NEUROSIM, "--model", "a:b"), "leave out --model"),
    "wrong dialect": ((*NEUROSIM[:3], "siam"), "NetWork_neurosim.csv, line 1: sparsity is '2'"),
    "more than can be": (("--network-csv", "huge.csv", "--dialect", "neurosim"), "huge.csv, layer 1: 576 activations"),
    "more tiles than can be": (
        ("--network-csv", "wide.csv", "--dialect", "neurosim", "--chip", "demo-32nm"),
        "can be placed. Take a chip",
    ),
    "input without end": (("--input-shape", "99999999", "99999999"), "elements in all"),
    "absent": (("--network-csv", "nowhere.csv", "--dialect", "siam"), "cannot read 'nowhere.csv'"),
    "no chain": (("--network-csv", "torn.csv", "--dialect", "neurosim"), "torn.csv, layer 2 takes 8 x 8 x 5"),
    "unknown format": (("--export", "vhdl:x"), "siam-layers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "torn.csv").write_text("8,8,3,3,3,4,0,1\n8,8,5,3,3,4,0,1\n")
    (tmp_path / "huge.csv").write_text("8,8,8,99999,99999,9,0,1\n")
    (tmp_path / "wide.csv").write_text("1,1,30000,1,1,33000,0,1\n")
    words, expected = MISTAKES[mistake]
    assert cannon("map", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err
    assert len(printed.err.strip().splitlines()) == 1
