"""Compute costs: a cell-by-cell oracle, examples by hand, published figures of ISAAC and PUMA, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cannon_fx.hw.chip import Crossbar, Precision
from cannon_fx.hw.compute import Compute, ComputeCost, layer_cost
from cannon_fx.hw.errors import ChipError

PLAIN: dict[str, Any] = {
    "input_bits": 1,
    "rows_per_read": 128,
    "columns_per_adc": 8,
    "read_ns": 10.0,
    "read_pj_per_cell": 0.5,
    "driver_pj_per_row": 2.0,
    "shift_add_pj": 0.25,
    "accumulate_pj": 0.125,
    "overlapped": False,
    "adc": {"model": "constants", "bits": 8, "pj": 4.0, "ns": 3.0},
}


def compute(**changes: Any) -> Compute:
    return Compute.model_validate(PLAIN | changes)


def crossbar(rows: int = 128, columns: int = 128, cell_bits: int = 1) -> Crossbar:
    return Crossbar(rows=rows, columns=columns, cell_bits=cell_bits)


def precision(weight_bits: int = 8, activation_bits: int = 8) -> Precision:
    return Precision(weight_bits=weight_bits, activation_bits=activation_bits, partial_sum_bits=32)


def rows(*tiles: list[int], size: int = 128) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """kept_rows [I, J, size] with the first so many rows of each tile kept; one list per i."""
    counts = np.array(tiles)
    return np.arange(size) < counts[:, :, None]


def test_one_crossbar_by_hand() -> None:
    """100 rows x 16 outputs of 8 bits fill 100 x 128 cells; 8 pulses at each of 5 positions."""
    found = layer_cost(compute(), crossbar(), precision(), 2.0, rows([100]), np.array([16]), 5)
    pulses, cells, columns = 5 * 8, 100 * 128, 128
    assert found == ComputeCost(
        crossbar_pj=pulses * cells * 0.5,
        driver_pj=pulses * 100 * 2.0,
        adc_pj=pulses * columns * 4.0,
        shift_add_pj=pulses * columns * 0.25,
        accumulate_pj=0.0,
        latency_cycles=pulses * (10.0 + 8 * 3.0) * 2.0,
    )
    assert found.energy_pj == pytest.approx(found.crossbar_pj + found.driver_pj + found.adc_pj + found.shift_add_pj)


def test_partial_sums_of_all_crossbars_are_accumulated() -> None:
    """Column block 0 has 200 rows on tile (0, 0), 2 crossbars, and 1 on tile (1, 0); block 1 one crossbar in all."""
    kept = rows([200, 0], [60, 7], size=256)
    found = layer_cost(compute(), crossbar(), precision(), 1.0, kept, np.array([16, 3]), 10)
    assert found.accumulate_pj == 10 * (3 - 1) * 16 * 0.125
    assert found.adc_pj == 10 * 8 * (3 * 16 + 1 * 3) * 8 * 4.0
    assert found.latency_cycles == 10 * 8 * (10 + 8 * 3) + 2  # an adder tree of 3 leaves has 2 levels


def test_a_pipeline_overlaps_reading_and_converting() -> None:
    fast = layer_cost(compute(overlapped=True), crossbar(), precision(), 1.0, rows([4]), np.array([1]), 6)
    assert fast.latency_cycles == (6 * 8 + 2) * (8 * 3.0)
    one = compute(overlapped=True, columns_per_adc=1)
    assert layer_cost(one, crossbar(), precision(), 1.0, rows([4]), np.array([1]), 6).latency_cycles == (6 * 8 + 2) * 10


def test_an_adc_serves_no_more_columns_than_are_in_use() -> None:
    found = layer_cost(compute(), crossbar(cell_bits=4), precision(), 1.0, rows([4]), np.array([1]), 1)
    assert found.latency_cycles == 8 * (10 + 2 * 3.0)


def test_a_limit_of_rows_takes_more_reads() -> None:
    """100 rows, 32 at once: 4 reads, each converted; cells and drivers are the same."""
    few = layer_cost(compute(rows_per_read=32), crossbar(), precision(), 1.0, rows([100]), np.array([16]), 1)
    all_at_once = layer_cost(compute(), crossbar(), precision(), 1.0, rows([100]), np.array([16]), 1)
    assert few.adc_pj == 4 * all_at_once.adc_pj
    assert few.shift_add_pj == 4 * all_at_once.shift_add_pj
    assert few.latency_cycles == 4 * all_at_once.latency_cycles
    assert (few.crossbar_pj, few.driver_pj) == (all_at_once.crossbar_pj, all_at_once.driver_pj)


def test_the_slowest_crossbar_sets_the_pace() -> None:
    """One block is 3 reads high and 1 column wide, the other 1 read high and 8 columns wide."""
    section, narrow = compute(rows_per_read=1), precision(1, 1)
    found = layer_cost(section, crossbar(), narrow, 1.0, rows([3, 1]), np.array([1, 8]), 1)
    assert found.latency_cycles == max(3 * (10 + 3), 1 * (10 + 8 * 3))


def test_isaac_spends_what_its_table_says() -> None:
    """ISAAC (ISCA 2016, Table I): an IMA of 8 crossbars of 128 x 128 draws 2.4 mW in the arrays, 4 mW in the DACs,
    16 mW in the ADCs and 0.2 mW in shift-and-add, with 128 conversions of every ADC in a cycle of 100 ns."""
    conversions = 8 * 128
    isaac = compute(
        columns_per_adc=128,
        read_ns=100.0,
        read_pj_per_cell=2.4 * 100 / (8 * 128 * 128),
        driver_pj_per_row=4 * 100 / (8 * 128),
        shift_add_pj=0.2 * 100 / conversions,
        overlapped=True,
        adc={"model": "constants", "bits": 8, "pj": 16 * 100 / conversions, "ns": 100 / 128},
    )
    positions = 1000
    found = layer_cost(isaac, crossbar(cell_bits=2), precision(16, 16), 1.0, rows([128] * 8), np.full(8, 16), positions)
    busy_ns = positions * 16 * 100
    assert found.crossbar_pj / busy_ns == pytest.approx(2.4)
    assert found.driver_pj / busy_ns == pytest.approx(4.0)
    assert found.adc_pj / busy_ns == pytest.approx(16.0)
    assert found.shift_add_pj / busy_ns == pytest.approx(0.2)
    assert found.latency_cycles == pytest.approx((positions * 16 + 2) * 100)


def test_zigzag_adc_is_what_it_publishes() -> None:
    """8 bits at 0.9 V: (8 x 100 fF + 65.536 fF) x 0.81 V^2 = 0.701 pJ; 128 rows: 8 x (0.836 + 0.640) ns."""
    adc = compute(adc={"model": "zigzag", "bits": 8, "vdd": 0.9}).adc
    pj, ns = adc.conversion(128)
    assert pj == pytest.approx((800 + 65.536) * 0.81e-3)
    assert ns == pytest.approx(8 * (0.00653 * 128 + 0.640))


def oracle(
    section: Compute, shape: Crossbar, bits: Precision, kept: Any, columns: Any, positions: int, ghz: float
) -> tuple[float, float]:
    """(energy, latency) counted crossbar by crossbar and cell by cell of explicitly placed weights."""
    cells = -(-bits.weight_bits // shape.cell_bits)
    fit = shape.columns // cells
    adc_pj, adc_ns = section.adc.conversion(shape.rows)
    energy, slowest, levels = 0.0, 0.0, 0
    pulses = -(-bits.activation_bits // section.input_bits)
    for j, outputs in enumerate(columns):
        leaves = 0
        for i in range(kept.shape[0]):
            for top in range(0, kept.shape[2], shape.rows):
                driven = [r for r in range(top, min(top + shape.rows, kept.shape[2])) if kept[i, j, r]]
                leaves += bool(driven)
                for left in range(0, outputs, fit):
                    used = min(fit, outputs - left) * cells
                    time = 0.0
                    for _ in range(pulses):
                        for start in range(0, len(driven), section.rows_per_read):
                            together = driven[start : start + section.rows_per_read]
                            for _row in together:
                                energy += section.driver_pj_per_row + used * section.read_pj_per_cell
                            energy += used * (adc_pj + section.shift_add_pj)
                            time += section.read_ns + adc_ns * min(section.columns_per_adc, used)
                    slowest = max(slowest, time)
        energy += max(leaves - 1, 0) * outputs * section.accumulate_pj
        while leaves > 2**levels:
            levels += 1
    return energy * positions, slowest * positions * ghz + levels


@given(st.data())
def test_the_oracle_agrees(data: st.DataObject) -> None:
    size = st.integers(1, 4)
    i, j, n = data.draw(size), data.draw(size), data.draw(st.integers(1, 20))
    cell_bits = data.draw(st.integers(1, 3))
    weight_bits = data.draw(st.integers(1, 4))
    shape = crossbar(data.draw(st.integers(1, 8)), data.draw(st.integers(weight_bits, 12)), cell_bits)
    bits = precision(weight_bits, data.draw(st.integers(1, 5)))
    section = compute(
        input_bits=data.draw(st.integers(1, 3)),
        rows_per_read=data.draw(st.integers(1, 8)),
        columns_per_adc=data.draw(st.integers(1, 12)),
        read_ns=1.0,
    )
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    kept = rng.random((i, j, n)) < rng.random()
    columns = rng.integers(1, 9, j)
    positions = data.draw(st.integers(1, 5))
    found = layer_cost(section, shape, bits, 1.5, kept, columns, positions)
    energy, latency = oracle(section, shape, bits, kept, columns, positions, 1.5)
    assert found.energy_pj == pytest.approx(energy)
    assert found.latency_cycles == pytest.approx(latency)


def test_cut_connections_cost_nothing() -> None:
    nothing = np.zeros((2, 3, 64), np.bool_)
    assert layer_cost(compute(), crossbar(), precision(), 1.0, nothing, np.array([4, 5, 6]), 9).energy_pj == 0
    kept = rows([64, 64], [64, 64])
    dense = layer_cost(compute(), crossbar(), precision(), 1.0, kept, np.array([4, 4]), 9)
    kept[1] = False
    half = layer_cost(compute(), crossbar(), precision(), 1.0, kept, np.array([4, 4]), 9)
    assert half.adc_pj == dense.adc_pj / 2
    assert half.accumulate_pj == 0


@pytest.mark.parametrize(
    ("kept", "columns"),
    [(np.ones((2, 3), bool), [1, 1, 1]), (np.ones((2, 3, 4), bool), [1, 1]), (np.ones((1, 1, 4), np.int64), [1])],
)
def test_shapes_that_do_not_match_are_refused(kept: Any, columns: list[int]) -> None:
    with pytest.raises(ChipError, match="do not describe one layer"):
        layer_cost(compute(), crossbar(), precision(), 1.0, kept, np.array(columns), 1)


@pytest.mark.parametrize(
    ("columns", "positions", "ghz"), [(0, 1, 1.0), (-1, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0), (1, 1, math.nan)]
)
def test_numbers_must_be_positive(columns: int, positions: int, ghz: float) -> None:
    with pytest.raises(ChipError, match="must be positive"):
        layer_cost(compute(), crossbar(), precision(), ghz, rows([1]), np.array([columns]), positions)


def test_a_crossbar_too_narrow_for_a_weight_is_refused() -> None:
    with pytest.raises(ChipError, match="hold no weight of 8 bits"):
        layer_cost(compute(), crossbar(columns=7), precision(), 1.0, rows([1]), np.array([1]), 1)


@pytest.mark.parametrize("key", PLAIN)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", None])
def test_the_section_takes_sound_numbers_only(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        compute(**{key: value})


@pytest.mark.parametrize(
    "adc", [{"model": "sar"}, {"model": "constants", "pj": 1.0}, {"model": "zigzag", "bits": 0, "vdd": 1.0}]
)
def test_an_unknown_adc_is_refused(adc: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        compute(adc=adc)
