"""Flits, energy and latency: by hand on small cases, and against what BookSim2 measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.communication import (
    Transfers,
    communicate,
    flits_for,
    transfer_energy_pj,
    zero_load_cycles,
)
from cannon_fx.hw.placement import PORT, place

BOOKSIM = json.loads((Path(__file__).parents[1] / "data" / "booksim.json").read_text("utf-8"))


def chip(energy: dict[str, Any] | None = None, **noc: Any) -> Chip:
    data = Chip.load("siam-32nm").dump()
    data["noc"] |= noc
    data["energy"] |= energy or {}
    return Chip.parse_data(data, "test")


def measured_chip(config: str, packet_flits: int) -> Chip:
    """A BookSim2 configuration with one-cycle stages: four of them, and one cycle of link."""
    values = BOOKSIM["configs"][config]
    return chip(
        vcs=values["vcs"],
        buffer_flits=values["buffer_flits"],
        credit_cycles=7 + values["credit_delay"],
        packet_flits=packet_flits,
    )


def transfers(*rows: tuple[int, int, int, int]) -> Transfers:
    return Transfers(*np.array(rows, np.int64).reshape(-1, 4).T)


def test_zero_load_is_what_booksim_measured() -> None:
    checked = 0
    for entry in BOOKSIM["zero_load"]:
        for packet_flits, latencies in entry["latency_by_hops"].items():
            modelled = zero_load_cycles(np.arange(15), measured_chip(entry["config"], int(packet_flits)))
            assert modelled.tolist() == latencies
            checked += len(latencies)
    assert checked == 2 * 3 * 15


@pytest.mark.parametrize("row", BOOKSIM["single_flow_rate"], ids=lambda row: f"{row['config']}-{row['packet_flits']}")
def test_one_vc_sustains_what_booksim_measured(row: dict[str, Any]) -> None:
    modelled = measured_chip(row["config"], row["packet_flits"]).flits_per_cycle
    assert modelled == pytest.approx(row["flits_per_cycle"], rel=0.01)
    if "makespan" in row:
        assert row["flits"] / modelled == pytest.approx(row["makespan"], rel=0.01)


def test_the_measurements_cover_both_limits() -> None:
    rows = BOOKSIM["single_flow_rate"]
    assert {row["packet_flits"] for row in rows if row["config"] == "B_siam_like"} == {1, 2, 4, 8, 16}
    chips = [BOOKSIM["configs"][row["config"]] | row for row in rows]
    by_credits = [
        c["buffer_flits"] / (7 + c["credit_delay"]) < c["packet_flits"] / (c["packet_flits"] + 2) for c in chips
    ]
    assert 3 <= sum(by_credits) <= len(rows) - 3


def test_several_vcs_share_the_wait_up_to_a_full_link() -> None:
    assert chip(vcs=2).flits_per_cycle == pytest.approx(2 / 3)
    assert chip(vcs=3).flits_per_cycle == 1
    assert chip(vcs=16, buffer_flits=8).flits_per_cycle == 1


@pytest.mark.parametrize(("bits", "flits"), [(0, 0), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_a_transfer_takes_whole_flits(bits: int, flits: int) -> None:
    assert flits_for(np.array([bits]), chip(flit_bits=32)).tolist() == [flits]


def test_energy_counts_a_link_per_hop_and_one_router_more() -> None:
    small = chip({"router_pj_per_flit": 2.0, "link_pj_per_bit_mm": 0.5}, flit_bits=8, link_mm=3.0)
    energy = transfer_energy_pj(np.array([1, 1, 5]), np.array([0, 1, 4]), small)
    assert energy.tolist() == [2.0, 12 + 2 * 2, 5 * (4 * 12 + 5 * 2)]


def test_zero_load_counts_every_part() -> None:
    odd = chip(router_cycles=3, link_cycles=5, endpoint_cycles=11, packet_flits=6)
    assert zero_load_cycles(np.array([0, 2]), odd).tolist() == [3 + 11 + 5, 3 * 3 + 2 * 5 + 11 + 5]


def test_phases_follow_one_another_and_take_their_busiest_part() -> None:
    """3 x 3 row-major, 32-bit flits, a third of a flit per cycle."""
    priced = communicate(
        transfers(
            (0, 0, 2, 33),  # 2 flits over 0-1 and 1-2
            (0, 0, 1, 320),  # 10 flits over 0-1: 12 on that link, 12 sent by tile 0
            (0, 8, 5, 32),
            (2, 3, 4, 64), (2, 5, 4, 96), (2, 1, 4, 32),  # 6 flits into tile 4, at most 3 on a link
        ),
        3,
        place(chip(columns=3, rows=3), 9, "row-major"),
        chip(columns=3, rows=3),
    )  # fmt: skip
    assert priced.flits.tolist() == [13, 0, 6]
    assert priced.flit_hops.tolist() == [15, 0, 6]
    assert priced.hops.tolist() == [2, 1, 1, 1, 1, 1]
    assert priced.flits_of.tolist() == [2, 10, 1, 2, 3, 1]
    assert priced.latency_cycles.tolist() == pytest.approx([12 * 3 + 17, 0, 6 * 3 + 12])
    link, router = 0.0324 * 32, 1.3059
    assert priced.energy_pj.tolist() == pytest.approx([15 * link + 28 * router, 0, 6 * link + 12 * router])
    assert priced.static_energy_pj.tolist() == pytest.approx([53 * 9 * 4.8698, 0, 30 * 9 * 4.8698])
    assert priced.link_flits.sum() == 21
    assert priced.link_flits[0, 0].tolist() == [12, 2, 0]


def test_many_senders_are_as_slow_as_one_that_sends_as_much() -> None:
    chip_, placement = chip(columns=3, rows=3), place(chip(columns=3, rows=3), 9, "row-major")
    gather = communicate(transfers(*((0, t, 4, 320) for t in (1, 3, 5, 7))), 1, placement, chip_)
    scatter = communicate(transfers(*((0, 4, t, 320) for t in (1, 3, 5, 7))), 1, placement, chip_)
    assert gather.latency_cycles.tolist() == scatter.latency_cycles.tolist() == pytest.approx([40 * 3 + 12])


def test_the_port_has_a_router_to_pass_and_a_channel_of_its_own() -> None:
    chip_ = chip(columns=2, rows=2, port=(1, 0))
    placement = place(chip_, 4, "row-major")
    into = communicate(transfers((0, PORT, 1, 32), (0, PORT, 3, 32)), 1, placement, chip_)
    assert into.hops.tolist() == [0, 1]
    link, router = 0.0324 * 32, 1.3059
    assert into.energy_pj[0] == pytest.approx(router + link + 2 * router)
    assert into.latency_cycles[0] == pytest.approx(2 * 3 + 12)
    both = communicate(transfers((0, PORT, 3, 320), (0, 1, 0, 320)), 1, placement, chip_)
    assert both.latency_cycles[0] == pytest.approx(10 * 3 + 12)


def test_no_transfers_cost_nothing() -> None:
    priced = communicate(Transfers.concatenate([]), 2, place(chip(), 4), chip())
    assert priced.flits.tolist() == [0, 0]
    assert priced.energy_pj.tolist() == priced.latency_cycles.tolist() == [0, 0]
    assert not priced.link_flits.any()
