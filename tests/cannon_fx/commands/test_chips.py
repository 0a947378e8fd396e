"""`cannon chips`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest

from cannon_fx import Chip

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]


def test_all_are_listed(cannon: Cannon, capsys: Output) -> None:
    assert cannon("chips") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in Chip.presets())
    assert cannon("chips", "--json") == 0
    assert [chip["name"] for chip in json.loads(capsys.readouterr().out)] == Chip.presets()


def test_one_is_printed_as_its_file(cannon: Cannon, capsys: Output) -> None:
    assert cannon("chips", "isaac") == 0
    text = capsys.readouterr().out
    assert Chip.parse(text, "printed") == Chip.load("isaac")
    assert cannon("chips", "isaac", "--json") == 0
    assert json.loads(capsys.readouterr().out)["crossbar"] == tomllib.loads(text)["crossbar"]


def test_an_unknown_one_is_refused(cannon: Cannon, capsys: Output) -> None:
    assert cannon("chips", "issac") == 2
    assert "Did you mean 'isaac'?" in capsys.readouterr().err
