"""Flits and energy by hand on small cases; phases one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.communication import communicate, energy_pj
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.placement import PORT, place
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.traffic import Packets
from cannon_fx.hw.transfers import Transfers

LINK, ROUTER = 0.5 * 32, 2.0


def chip(nop: dict[str, Any] | None = None, **noc: Any) -> Chip:
    data = Chip.load("siam-32nm").dump()
    data["noc"] |= noc
    data["energy"] = {
        "model": "constants", "router_pj_per_flit": ROUTER, "link_pj_per_bit_mm": 0.5,
        "router_leakage_mw": 3.0, "router_clock_mw": 1.0, "link_leakage_mw": 0.25,
    }  # fmt: skip
    return Chip.parse_data(data | ({"nop": nop} if nop else {}), "test")


def transfers(*rows: tuple[int, int, int, int]) -> Transfers:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Transfers(*columns, np.arange(len(rows)))


@pytest.mark.parametrize(("bits", "flits"), [(0, 0), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_a_transfer_takes_whole_flits(bits: int, flits: int) -> None:
    assert transfers((0, 0, 1, bits)).flits(32).tolist() == [flits]


def test_energy_counts_routers_pitches_and_crossings() -> None:
    nop = {"chiplet_columns": 2, "chiplet_rows": 2, "link_cycles": 5, "cycles_per_flit": 2, "pj_per_bit": 0.25}
    small = chip(topology="chiplets", nop=nop, link_mm=3.0)
    energy = energy_pj(small, np.array([1, 2, 5]), np.array([0.0, 1.0, 2.0]), np.array([0, 0, 2]))
    assert energy.tolist() == [2, 4 + 48, 10 + 96 + 2 * 8]
    # 0 -> 3 along the first row of 4 x 4 tiles: one link on chip, one between chiplets, one on chip.
    priced = communicate(transfers((0, 0, 3, 32)), 1, place(small, 16, "row-major"), small)
    assert priced.energy_pj.tolist() == [4 * 2 + 2 * 48 + 8]


def test_phases_are_counted_apart() -> None:
    """3 x 3 row-major, 32-bit flits."""
    chip_ = chip(columns=3, rows=3)
    priced = communicate(
        transfers(
            (0, 0, 2, 33),  # 2 flits over 0-1 and 1-2
            (0, 0, 1, 320),  # 10 flits over 0-1
            (0, 8, 5, 32),
            (2, 3, 4, 64), (2, 5, 4, 96), (2, 1, 4, 32),
        ),
        3,
        place(chip_, 9, "row-major"),
        chip_,
    )  # fmt: skip
    assert priced.flits.tolist() == [13, 0, 6]
    assert priced.flit_hops.tolist() == [15, 0, 6]
    assert priced.routes.hops.tolist() == [2, 1, 1, 1, 1, 1]
    assert priced.routes.flits.tolist() == [2, 10, 1, 2, 3, 1]
    assert priced.energy_pj.tolist() == pytest.approx([15 * LINK + 28 * ROUTER, 0, 6 * LINK + 12 * ROUTER])
    static = 9 * (3.0 + 1.0) + 24 * 0.25
    assert priced.static_energy_pj.tolist() == pytest.approx((priced.latency_cycles * static).tolist())
    assert priced.latency_cycles[1] == 0
    assert priced.routes.link_flits[0].tolist()[0] == 12


def test_a_multicast_pays_shared_links_once() -> None:
    chip_ = chip(columns=3, rows=3)
    rows = np.array([(0, 0, target, 64, 0) for target in (2, 5, 8)]).T
    placement = place(chip_, 9, "row-major")
    priced = communicate(Transfers(*rows), 1, placement, chip_)
    assert priced.flits.tolist() == [2]
    assert priced.flit_hops.tolist() == [2 * 4]
    assert priced.energy_pj.tolist() == [2 * (4 * LINK + 5 * ROUTER)]
    # One VC passes a one-flit packet every three cycles; the second comes so long after the first, 4 hops away.
    assert priced.latency_cycles.tolist() == [3 + chip_.noc.router.zero_load_cycles(4, 1)]


def test_the_port_has_a_router_to_pass_and_a_channel_of_its_own() -> None:
    chip_ = chip(columns=2, rows=2, port=(1, 0))
    placement = place(chip_, 4, "row-major")
    into = communicate(transfers((0, PORT, 1, 32), (0, PORT, 3, 32)), 1, placement, chip_)
    assert into.routes.hops.tolist() == [0, 1]
    assert into.energy_pj.tolist() == [ROUTER + LINK + 2 * ROUTER]
    assert into.routes.busiest_flits.tolist() == [2]
    both = communicate(transfers((0, PORT, 3, 320), (0, 1, 0, 320)), 1, placement, chip_)
    assert both.routes.busiest_flits.tolist() == [10]


def test_no_transfers_cost_nothing() -> None:
    priced = communicate(Transfers.concatenate([]), 2, place(chip(), 4), chip())
    assert priced.flits.tolist() == [0, 0]
    assert priced.energy_pj.tolist() == priced.latency_cycles.tolist() == [0, 0]
    assert not priced.routes.link_flits.any()


def test_simulated_latency_is_the_simulators_makespan_phase_by_phase() -> None:
    chip_ = chip(columns=3, rows=3, port=(1, 1), packet_flits=4)
    placement = place(chip_, 8, "snake")
    rows = [(0, 0, 7, 32 * 9), (0, 0, 5, 32 * 2), (0, PORT, 7, 32 * 5), (2, 3, 4, 1)]
    priced = communicate(transfers(*rows), 3, placement, chip_, "simulated")
    # On the snake tile 5 stands at node 3, tile 7 at node 7, tile 3 at node 5, tile 4 at node 4; the port is node 9.
    first = [(0, 0, 7, 4), (0, 0, 3, 2), (0, 9, 7, 4), (0, 0, 7, 4), (0, 9, 7, 1), (0, 0, 7, 1)]
    network, router = placement.network, chip_.noc.router
    assert priced.latency_cycles.tolist() == [
        simulate(Packets.of_rows(first), network, router).makespan_cycles,
        0,
        simulate(Packets.of_rows([(0, 5, 4, 1)]), network, router).makespan_cycles,
    ]
    assert priced.latency_cycles[2] == router.zero_load_cycles(1, 1)
    analytic = communicate(transfers(*rows), 3, placement, chip_)
    assert analytic.energy_pj.tolist() == priced.energy_pj.tolist()


def test_a_multicast_is_not_simulated() -> None:
    chip_ = chip(columns=3, rows=3)
    rows = np.array([(0, 0, target, 64, 0) for target in (2, 5)]).T
    priced = communicate(Transfers(*rows), 1, place(chip_, 9), chip_, "simulated")
    with pytest.raises(ChipError, match="multicasts, which cannot be simulated"):
        priced.latency_cycles  # noqa: B018
