"""Energy models: the published or measured figures they stand for, monotone, and one clear error for bad input."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cannon_fx.hw.dsent import dsent_link, dsent_router
from cannon_fx.hw.energy import Energy, NocEnergy
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.router import Router

BOOKSIM = json.loads((Path(__file__).parents[1] / "data" / "energy" / "booksim_power.json").read_text("utf-8"))
MODELS: dict[str, dict[str, Any]] = {
    "dsent": {"model": "dsent", "technology": "Bulk32LVT"},
    "noxim": {"model": "noxim"},
    "booksim-itrs32": {"model": "booksim-itrs32"},
    "per-bit-hop": {"model": "per-bit-hop", "pj_per_bit": 0.7},
    "constants": {
        "model": "constants",
        "router_pj_per_flit": 1.5,
        "link_pj_per_bit_mm": 0.25,
        "router_leakage_mw": 4.0,
        "router_clock_mw": 0.5,
        "link_leakage_mw": 0.125,
    },
}
ADAPTER: TypeAdapter[Any] = TypeAdapter(Energy)
FIELDS = ("router_pj_per_flit", "link_pj_per_flit", "router_leakage_mw", "router_clock_mw", "link_leakage_mw")


def resolve(
    name: str, bits: int = 32, vcs: int = 1, depth: int = 10, mm: float = 1.0, ghz: float = 1.0, ports: int = 5
) -> NocEnergy:
    found: NocEnergy = ADAPTER.validate_python(MODELS[name]).resolve(
        bits, Router(num_vcs=vcs, vc_buf_size=depth), mm, ghz, ports
    )
    return found


def test_dsent_puts_router_and_link_together() -> None:
    found = resolve("dsent", bits=64, vcs=4, depth=4, mm=2.0, ghz=1.5, ports=8)
    router, link = dsent_router("Bulk32LVT", 64, 4, 4, 8), dsent_link("Bulk32LVT", 2.0)
    assert found.router_pj_per_flit == router.buffer_pj + router.crossbar_pj + router.arbiter_pj
    assert found.link_pj_per_flit == link.pj_per_bit * 64
    assert found.router_leakage_mw == router.leakage_mw
    assert found.router_clock_mw == router.clock_mw_at_1ghz * 1.5
    assert found.link_leakage_mw == link.leakage_mw_per_bit * 64


def test_noxim_adds_up_its_table() -> None:
    """By hand from bin/power.yaml: buffer of 4 x 32 bits, 5x5 crossbar, XY, selection; a wire of 2 mm."""
    found = resolve("noxim", bits=32, vcs=2, depth=4, mm=2.0)
    assert found.router_pj_per_flit == pytest.approx(0.762 + 0.534 + 0.221 + 0.060 + 0.050)
    assert found.link_pj_per_flit == pytest.approx(32 * 0.0963)
    assert found.router_leakage_mw == pytest.approx(5 * 2 * 2.27 + 0.749 + 0.120 + 0.110)
    assert found.router_clock_mw == 0
    assert found.link_leakage_mw == pytest.approx(32 * 5.10e-4)
    between = resolve("noxim", bits=48, depth=6)
    corners = [resolve("noxim", bits=b, depth=d).router_pj_per_flit for b, d in product((32, 64), (4, 8))]
    assert between.router_pj_per_flit == pytest.approx(math.fsum(corners) / 4)


@pytest.mark.parametrize("row", BOOKSIM["rows"], ids=lambda row: "-".join(map(str, list(row.values())[:4])))
def test_booksim_power_is_reproduced(row: dict[str, float]) -> None:
    """64 routers and 352 channels at 9.712 GHz of the measured mesh; the reference has four digits."""
    bits, mm = int(row["channel_width_bits"]), row["wire_length_mm"]
    found = resolve("booksim-itrs32", bits, int(row["num_vcs"]), int(row["vc_buf_size"]), mm, row["fclk_GHz"], ports=5)
    assert found.router_pj_per_flit == pytest.approx(row["router_pJ_per_flit"], rel=2e-4)
    assert found.link_pj_per_flit == pytest.approx(row["link_pJ_per_bit_per_mm"] * bits * mm)
    leakage_w = (64 * found.router_leakage_mw + 352 * found.link_leakage_mw) * 1e-3
    assert leakage_w == pytest.approx(row["leak_W_total"], rel=2e-4)
    # Clocked channels go with the routers they leave: 5 each are 320, the other 32 belong to nodes at the border.
    channels = resolve("booksim-itrs32", bits, mm=mm, ghz=row["fclk_GHz"], ports=6).router_clock_mw
    one_channel = channels - found.router_clock_mw
    assert (64 * found.router_clock_mw + 32 * one_channel) * 1e-3 == pytest.approx(row["clk_W_total"], rel=2e-4)


def test_per_bit_hop_charges_links_only() -> None:
    assert resolve("per-bit-hop", bits=24, mm=3.0) == NocEnergy(0.0, pytest.approx(24 * 0.7), 0.0, 0.0, 0.0)


def test_constants_are_taken_as_they_are() -> None:
    assert resolve("constants", bits=64, mm=2.0, ghz=3.0) == NocEnergy(1.5, 0.25 * 64 * 2.0, 4.0, 0.5, 0.125)


def test_the_models_differ_as_documented() -> None:
    """BookSim2's wires are an order of magnitude above the others; Noxim's router is near DSENT's at 45 nm."""
    link = {name: resolve(name).link_pj_per_flit for name in MODELS}
    assert 10 < link["booksim-itrs32"] / link["dsent"] < 20
    old = dsent_router("Bulk45LVT", 32, 1, 4).pj_per_flit
    assert resolve("noxim", depth=4).router_pj_per_flit == pytest.approx(old, rel=0.1)


@pytest.mark.parametrize("name", MODELS)
@given(
    bits=st.integers(16, 127),
    vcs=st.integers(1, 7),
    depth=st.integers(2, 15),
    mm=st.floats(0.5, 2.5),
    ghz=st.floats(0.1, 4.0),
    ports=st.integers(2, 11),
)
def test_more_never_costs_less(name: str, bits: int, vcs: int, depth: int, mm: float, ghz: float, ports: int) -> None:
    base = resolve(name, bits, vcs, depth, mm, ghz, ports)
    grown = (
        resolve(name, bits + 1, vcs, depth, mm, ghz, ports),
        resolve(name, bits, vcs + 1, depth, mm, ghz, ports),
        resolve(name, bits, vcs, depth + 1, mm, ghz, ports),
        resolve(name, bits, vcs, depth, mm, ghz + 0.1, ports),
        resolve(name, bits, vcs, depth, mm, ghz, ports + 1),
    )
    for more in grown:
        for field in FIELDS:
            assert getattr(more, field) >= getattr(base, field) * (1 - 1e-12)
    assert resolve(name, bits, vcs, depth, mm * 1.1, ghz, ports).link_pj_per_flit >= base.link_pj_per_flit
    assert all(math.isfinite(getattr(base, field)) and getattr(base, field) >= 0 for field in FIELDS)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("argument", ["bits", "mm", "ghz", "ports"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_bad_numbers_are_refused(name: str, argument: str, value: float) -> None:
    with pytest.raises(ChipError, match="needs a positive") as caught:
        resolve(name, **{argument: value})  # type: ignore[arg-type]
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "sizes", "word"),
    [
        ("dsent", {"bits": 4}, "flit_bits = 4"),
        ("dsent", {"bits": 1024}, "flit_bits = 1024"),
        ("dsent", {"vcs": 60, "depth": 10}, "num_vcs x vc_buf_size = 600"),
        ("dsent", {"ports": 40}, "ports of a router = 40"),
        ("dsent", {"mm": 0.01}, "link_mm = 0.01"),
        ("noxim", {"bits": 256}, "flit_bits = 256"),
        ("noxim", {"depth": 1}, "vc_buf_size = 1"),
        ("noxim", {"mm": 4.0}, "link_mm = 4.0"),
    ],
)
def test_nothing_is_extrapolated(name: str, sizes: dict[str, Any], word: str) -> None:
    with pytest.raises(ChipError, match="lies outside the energy model's table") as caught:
        resolve(name, **sizes)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1", True, None])
def test_constants_must_be_numbers(value: object) -> None:
    for key in MODELS["constants"]:
        with pytest.raises(ValidationError):
            ADAPTER.validate_python(MODELS["constants"] | {key: value})


@pytest.mark.parametrize("data", [{}, {"model": "orion"}, {"model": "dsent"}, {"model": "noxim", "technology": "x"}])
def test_an_unknown_model_or_key_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(data)
