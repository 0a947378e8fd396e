"""The DSENT table: exact where it was measured, close where it was not, and it says how close."""

from __future__ import annotations

import json
from dataclasses import astuple
from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import pytest

from cannon_fx.hw import dsent
from cannon_fx.hw.dsent import Technology, dsent_link, dsent_router
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.interpolate import interpolate

DATA = Path(__file__).parents[1] / "data" / "energy"
FIRST: dict[str, Any] = json.loads((DATA / "dsent_table.json").read_text("utf-8"))
"""An earlier run of DSENT, four digits, at 56 routers and 24 links that the table must reproduce."""
ELSEWHERE: dict[str, Any] = json.loads((DATA / "dsent_elsewhere.json").read_text("utf-8"))
"""DSENT at routers and links that are not in the table."""
TECHNOLOGIES = get_args(Technology)


def name(row: dict[str, Any]) -> str:
    return "-".join(str(value) for value in list(row.values())[:4])


@pytest.mark.parametrize("row", FIRST["router"], ids=name)
def test_routers_of_the_first_table_are_reproduced(row: dict[str, Any]) -> None:
    found = dsent_router(row["tech"], row["flit_bits"], row["vcs"], row["buf_per_vc"])
    digits = 0.00006  # half a unit of the fourth decimal, and ours
    assert found.buffer_pj == pytest.approx(row["buffer_pJ"], rel=1e-5, abs=digits)
    assert found.crossbar_pj == pytest.approx(row["crossbar_pJ"], abs=digits)
    assert found.arbiter_pj == pytest.approx(row["arbiter_pJ"], abs=digits)
    assert found.pj_per_flit == pytest.approx(row["dyn_pJ_per_flit"], rel=1e-5, abs=digits)
    assert found.leakage_mw == pytest.approx(row["leak_mW"], rel=2e-5, abs=digits)
    # What VC arbiters add to the clock shrinks a little as buffers grow: 0.28 % at 16 VCs, nothing at one.
    spread = 0 if row["vcs"] == 1 else 3e-3
    assert found.clock_mw_at_1ghz == pytest.approx(row["clock_mW_at_1GHz"], rel=spread, abs=digits)
    assert found.area_mm2 == pytest.approx(row["area_mm2"], rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("row", FIRST["link"], ids=name)
def test_links_of_the_first_table_are_reproduced(row: dict[str, Any]) -> None:
    found = dsent_link(row["tech"], row["length_mm"])
    assert found.pj_per_bit / row["length_mm"] == pytest.approx(row["pJ_per_bit_per_mm"], abs=6e-6)
    leakage_uw = found.leakage_mw_per_bit * 1e3
    assert leakage_uw == pytest.approx(row["leak_uW_per_bit_mm"] * row["length_mm"], abs=6e-5)


WORST = {
    "buffer_pj": 2.3,
    "crossbar_pj": 1.4,
    "arbiter_pj": 4.8,
    "clock_mw_at_1ghz": 4.3,
    "leakage_mw": 1.9,
    "area_mm2": 4.5,
}
"""Percent, measured over all rows of `dsent_elsewhere.json`; `docs/hardware.md` quotes it."""


@pytest.mark.parametrize("row", ELSEWHERE["router"], ids=lambda row: "-".join(map(str, list(row.values())[:5])))
def test_routers_between_the_points(row: dict[str, Any]) -> None:
    found = dsent_router(*(row[key] for key in ("technology", "flit_bits", "num_vcs", "vc_buf_size", "ports")))
    for figure, percent in WORST.items():
        assert getattr(found, figure) == pytest.approx(row[figure], rel=percent / 100)
    energy = row["buffer_pj"] + row["crossbar_pj"] + row["arbiter_pj"]
    assert found.pj_per_flit == pytest.approx(energy, rel=0.0175)


@pytest.mark.parametrize("row", ELSEWHERE["link"], ids=lambda row: f"{row['technology']}-{row['link_mm']}")
def test_links_between_the_points(row: dict[str, Any]) -> None:
    """Repeaters come in whole numbers, so leakage has steps: 11 nm gets its second between 1 and 1.25 mm."""
    found = dsent_link(row["technology"], row["link_mm"])
    assert found.pj_per_bit == pytest.approx(row["pj_per_bit"], rel=2e-3)
    stepped = (row["technology"], row["link_mm"]) == ("TG11LVT", 1.25)
    assert found.leakage_mw_per_bit == pytest.approx(row["leakage_mw_per_bit"], rel=0.23 if stepped else 1e-5)


def table(technology: str) -> dict[str, Any]:
    found: dict[str, Any] = dsent._tables()["technologies"][technology]["router"]
    return found


KNOTS: dict[str, list[int]] = dsent._tables()["knots"]


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_every_point_of_the_table_is_met(technology: Technology) -> None:
    measured = table(technology)
    for i, bits in enumerate(KNOTS["flit_bits"]):
        for k, depth in enumerate(KNOTS["depth"]):
            found = dsent_router(technology, bits, 1, depth)
            assert found.buffer_pj == measured["buffer_pj"][i][k]
            for figure, key in (
                ("leakage_mw", "leakage_mw"),
                ("clock_mw_at_1ghz", "clock_mw"),
                ("area_mm2", "area_mm2"),
            ):
                assert getattr(found, figure) == pytest.approx(measured[f"{key}_by_depth"][i][k], rel=1e-9)
        for k, ports in enumerate(KNOTS["ports"]):
            found = dsent_router(technology, bits, 1, dsent.BASE_DEPTH, ports)
            assert found.crossbar_pj == measured["crossbar_pj"][i][k]
            assert found.leakage_mw == measured["leakage_mw_by_ports"][i][k]


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_wider_deeper_and_more_cost_more(technology: Technology) -> None:
    figures = ("pj_per_flit", "clock_mw_at_1ghz", "leakage_mw", "area_mm2")
    steps = [[dsent_router(technology, bits, 2, 5) for bits in range(8, 513, 7)]]
    steps += [[dsent_router(technology, 32, 1, depth) for depth in range(1, 257, 3)]]
    steps += [[dsent_router(technology, 32, vcs, 4) for vcs in range(1, 61)]]
    steps += [[dsent_router(technology, 48, 3, 7, ports) for ports in range(2, 13)]]
    for rising in steps:
        for figure in figures:
            assert all(getattr(a, figure) < getattr(b, figure) for a, b in pairwise(rising)), figure
    wires = [dsent_link(technology, tenths / 10).pj_per_bit for tenths in range(1, 101)]
    assert all(a < b for a, b in pairwise(wires))


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_the_corners_of_the_table_are_positive(technology: Technology) -> None:
    """Few flits on many ports subtract most from what was measured at the base depth."""
    for bits, vcs, ports in product((8, 512), (1, 60), (2, 12)):
        found = dsent_router(technology, bits, vcs, 1, ports)
        assert all(value > 0 for value in astuple(found))


def test_newer_technology_costs_less() -> None:
    routers = [dsent_router(technology, 32, 1, 10) for technology in TECHNOLOGIES]
    for figure in ("buffer_pj", "crossbar_pj", "arbiter_pj", "clock_mw_at_1ghz", "leakage_mw", "area_mm2"):
        assert all(getattr(a, figure) > getattr(b, figure) for a, b in pairwise(routers))


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_a_point_left_out_is_found_again(technology: str) -> None:
    """Buffers and leakage from the table without one inner depth; the sharpest bend is at 2 flits."""
    for key in ("buffer_pj", "leakage_mw_by_depth"):
        for row in table(technology)[key]:
            for left_out in range(1, len(row) - 1):
                knots = KNOTS["depth"][:left_out] + KNOTS["depth"][left_out + 1 :]
                rest = row[:left_out] + row[left_out + 1 :]
                guess = interpolate(rest, ("depth", knots, KNOTS["depth"][left_out]))
                assert guess == pytest.approx(row[left_out], rel=0.1 if KNOTS["depth"][left_out] < 4 else 0.055)


def test_an_unknown_technology_is_refused() -> None:
    with pytest.raises(ChipError, match=r"unknown technology 'Bulk7'.*Bulk45LVT"):
        dsent_router("Bulk7", 32, 1, 4)  # type: ignore[arg-type]
    with pytest.raises(ChipError, match="unknown technology"):
        dsent_link("Bulk7", 1.0)  # type: ignore[arg-type]
