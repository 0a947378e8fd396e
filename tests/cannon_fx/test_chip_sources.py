"""The comments beside a chip's constants: every preset's, and the forms they take."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from cannon_fx.chip_sources import chip_sources
from cannon_fx.hw.chip import Chip


def keys(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield from keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]


@pytest.mark.parametrize("name", Chip.presets())
def test_every_constant_of_a_preset_has_a_source(name: str) -> None:
    text = Chip.text_of(name)
    without = set(keys(tomllib.loads(text))) - chip_sources(text).keys()
    assert without <= {"schema", "name", "description", "energy.model", "compute.adc.model"}
    assert not any("as above" in source for source in chip_sources(text).values())


def test_forms() -> None:
    text = """
    # of the whole file
    name = "a # b"    # after a string with a #
    bare = 1
    [noc]             # of the section
    flit_bits = 32    # Paper, Table 2: width 32
                      # of its links
    link_mm = 1.0     # as above: pitch
    link_cycles = 1   # as above
    [noc.router]
    ports = [1, 2]    # list
    """
    assert tomllib.loads(text)
    assert chip_sources(text) == {
        "name": "after a string with a #",
        "noc.flit_bits": "Paper, Table 2: width 32 of its links",
        "noc.link_mm": "Paper, Table 2: pitch",
        "noc.link_cycles": "Paper, Table 2: pitch",
        "noc.router.ports": "list",
    }
