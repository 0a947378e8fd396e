"""Formulas against the numeric path, chip by chip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.communication import communicate
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.placement import place
from cannon_fx.hw.symbolic import BATCH, CONSTANTS, FLIT_BITS, ROUTER_PJ, constants_of, sweep, symbolic_energy_pj
from cannon_fx.hw.transfers import Transfers

TILES = 24


def chip(router: float, link: float, crossing: float, link_mm: float, flit_bits: int, topology: str) -> Chip:
    data: dict[str, Any] = Chip.load("siam-32nm").dump()
    data["noc"] |= {"topology": topology, "link_mm": link_mm, "flit_bits": flit_bits}
    data["noc"]["router"]["num_vcs"] = 2
    data["energy"] = {
        "model": "constants", "router_pj_per_flit": router, "link_pj_per_bit_mm": link,
        "router_leakage_mw": 1.0, "router_clock_mw": 1.0, "link_leakage_mw": 0.0,
    }  # fmt: skip
    nop = {"chiplet_columns": 3, "chiplet_rows": 2, "link_cycles": 5, "cycles_per_flit": 2, "pj_per_bit": crossing}
    return Chip.parse_data(data | ({"nop": nop} if topology == "chiplets" else {}), "test")


def traffic(rows: int, seed: int) -> Transfers:
    rng = np.random.default_rng(seed)
    return Transfers(
        np.sort(rng.integers(0, 4, rows)), *rng.integers(-1, TILES, (2, rows)), rng.integers(1, 500, rows),
        rng.integers(0, rows // 2 + 1, rows),
    )  # fmt: skip


positive = st.floats(0, 10).map(lambda x: round(x, 3))


@settings(max_examples=60, deadline=None)
@example(constants=(0.0, 1.0, 0.0, 1.0, 23), batch=7, topology="mesh", rows=33, seed=1)
@given(
    constants=st.tuples(positive, positive, positive, st.floats(0.1, 5), st.integers(1, 300)),
    batch=st.integers(1, 9),
    topology=st.sampled_from(["mesh", "torus", "chiplets"]),
    rows=st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_the_formula_is_what_pricing_every_chip_finds(
    constants: tuple[float, float, float, float, int], batch: int, topology: str, rows: int, seed: int
) -> None:
    transfers, start = traffic(rows, seed), chip(1.0, 1.0, 1.0, 1.0, 32, topology)
    placement = place(start, TILES)
    formula = symbolic_energy_pj(transfers, communicate(transfers, 4, placement, start).routes)
    other = chip(*constants, topology)
    larger = replace(transfers, bits=transfers.bits * batch)
    expected = float(communicate(larger, 4, placement, other).energy_pj.sum())
    values = constants_of(other, batch)
    assert float(sweep(formula, values)) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    exact = {s: sympy.Rational(str(v)) if isinstance(v, float) else v for s, v in values.items()}
    assert float(formula.subs(exact)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_formula_by_hand() -> None:
    """40 bits over two links of a row: three routers."""
    start = chip(1.0, 1.0, 1.0, 1.0, 32, "mesh")
    row = Transfers.unicast(0, np.array([0]), np.array([2]), np.array([40]))
    formula = symbolic_energy_pj(row, communicate(row, 1, place(start, TILES, "row-major"), start).routes)
    assert formula.free_symbols == set(CONSTANTS) - {CONSTANTS[2]}
    assert sympy.diff(formula, ROUTER_PJ) == 3 * sympy.ceiling(40 * BATCH / FLIT_BITS)


def test_a_sweep_broadcasts_and_keeps_the_rest() -> None:
    start = chip(2.0, 0.5, 0.0, 1.5, 32, "mesh")
    transfers = traffic(30, 1)
    priced = communicate(transfers, 4, place(start, TILES), start)
    formula, base = symbolic_energy_pj(transfers, priced.routes), constants_of(start)
    flit_bits = np.array([8, 32, 64])
    energies = sweep(formula, base, flit_bits=flit_bits, link_mm=np.array([[1.0], [2.0]]))
    assert energies.shape == (2, 3)
    for (i, j), energy in np.ndenumerate(energies):
        one = chip(2.0, 0.5, 0.0, [1.0, 2.0][i], int(flit_bits[j]), "mesh")
        assert energy == pytest.approx(float(communicate(transfers, 4, place(start, TILES), one).energy_pj.sum()))
    assert sweep(sympy.Integer(0), base, flit_bits=flit_bits).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 3}, "'colour' is no constant of the formula"),
        ({"link_mm": [1.0, float("nan")]}, "link_mm holds values that are not numbers of at least 0"),
        ({"router_pj_per_flit": -1}, "at least 0"),
        ({"flit_bits": 0}, "at least 1"),
        ({"batch": 1.5}, "batch holds fractions"),
    ],
)
def test_impossible_sweeps_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ChipError, match=message):
        sweep(ROUTER_PJ * BATCH, constants_of(Chip.load("siam-32nm")), **values)
