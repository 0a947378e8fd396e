"""A chip's router is as fast as the chip says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.chip_router import router_of
from cannon_fx.hw.communication import zero_load_cycles
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.topologies import mesh
from cannon_fx.hw.traffic import Packets


def chip(**noc: Any) -> Chip:
    preset = Chip.load("siam-32nm")
    return preset.model_copy(update={"noc": preset.noc.model_copy(update=noc)})


@pytest.mark.parametrize("router_cycles", [2, 3, 4, 5, 9])
def test_zero_load_is_the_chips(router_cycles: int) -> None:
    described = chip(router_cycles=router_cycles)
    for hops in range(5):
        found = simulate(Packets.of_rows([(0, 0, hops, 1)]), mesh(5, 1), router_of(described))
        assert found.latency_cycles[0] == zero_load_cycles(np.array([hops]), described)[0]


def test_siam_is_the_reference_router() -> None:
    """The configuration B_siam_like of tests/data/booksim.json."""
    assert router_of(chip()) == Router(num_vcs=1, vc_buf_size=10)
    assert router_of(chip(credit_cycles=9)).credit_delay == 2
    assert router_of(chip(credit_cycles=9, link_cycles=2)).credit_delay == 0


@pytest.mark.parametrize(
    ("noc", "problem"),
    [
        ({"router_cycles": 1}, "router_cycles is 1"),
        ({"credit_cycles": 6}, "credit_cycles is 6"),
        ({"link_cycles": 2}, "9"),
    ],
)
def test_what_the_pipeline_cannot_do(noc: dict[str, int], problem: str) -> None:
    with pytest.raises(ChipError, match=problem):
        router_of(chip(**noc))
