"""The chips that come with the package: every constant has its source, and their sources' own figures come out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.compute import Compute, ComputeCost, layer_cost

FOLDER = Path(__file__).parents[2] / "hw" / "chips"
WORDS = ("schema", "name", "description")


def computing(chip: Chip) -> Compute:
    assert chip.compute is not None
    return chip.compute


def one_crossbar(chip: Chip, positions: int) -> ComputeCost:
    """One crossbar that is full of weights."""
    outputs = chip.tile_columns // chip.tile.pe_columns
    kept = np.ones((1, 1, chip.crossbar.rows), np.bool_)
    return layer_cost(
        computing(chip), chip.crossbar, chip.precision, chip.noc.clock_ghz, kept, np.array([outputs]), positions
    )


@pytest.mark.parametrize("name", Chip.presets())
def test_every_constant_has_its_source_beside_it(name: str) -> None:
    lines = (FOLDER / f"{name}.toml").read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    section = ""
    for line in lines:
        section = line if line.startswith("[") else section
        key = re.match(r"(\w+) = ", line)
        if key and key[1] not in (*WORDS, "model"):
            assert re.search(r" +# \S.{3,}", line), f"{name}: {line}"
        if key and key[1] == "model" and "constants" not in line:
            assert re.search(r"# \S", line + section + lines[lines.index(line) + 1]), f"{name}: {line}"


@pytest.mark.parametrize("name", Chip.presets())
def test_the_sum_of_a_tile_fits_into_its_partial_sum(name: str) -> None:
    chip = Chip.load(name)
    largest = chip.tile_rows * (2**chip.precision.weight_bits - 1) * (2**chip.precision.activation_bits - 1)
    assert 2 ** (chip.precision.partial_sum_bits - 1) <= largest < 2**chip.precision.partial_sum_bits


@pytest.mark.parametrize("name", Chip.presets())
def test_every_preset_says_what_computing_costs(name: str) -> None:
    found = one_crossbar(Chip.load(name), 10)
    assert found.energy_pj > 0
    assert found.adc_pj > 0
    assert found.latency_cycles > 0


@pytest.mark.parametrize(
    ("name", "weights", "cells"),
    [
        ("siam-32nm", 512 * 64, 16 * 128 * 128),  # 16 crossbars; docs: 512 rows x 64 outputs of 8 bits
        ("isaac", 96 * 128 * 16, 12 * 8 * 128 * 128),  # 12 IMAs x 8 arrays, 16 weights of 16 bits per row
        ("puma", 16 * 128 * 128, 128 * 128 * 128),  # 8 IMAs x 2 matrices of 128 x 128 weights
        ("neurosim-22nm", 16 * 128 * 32, 16 * 128 * 128),
        ("mnsim", 4 * 256 * 32, 4 * 256 * 256),  # 2 x 2 PEs
        ("hisim", 16 * 512 * 64, 16 * 512 * 512),  # 16 PEs
        ("chiplet-2.5d", 512 * 64, 16 * 128 * 128),
    ],
)
def test_a_tile_holds_what_its_source_says(name: str, weights: int, cells: int) -> None:
    chip = Chip.load(name)
    assert chip.tile_rows * chip.tile_columns == weights
    assert chip.tile.pe_rows * chip.tile.pe_columns * chip.crossbar.rows * chip.crossbar.columns == cells


@pytest.mark.parametrize("name", ["siam-32nm", "mnsim", "hisim", "chiplet-2.5d"])
def test_the_siam_line_of_work_takes_five_cycles_per_hop(name: str) -> None:
    """SIAM's interconnect_estimation.py: links + 4 (links + 1) + 3; HISIM's network_model.py: five stages of 1."""
    noc = Chip.load(name).noc
    assert [noc.router.zero_load_cycles(hops, 1) for hops in range(4)] == [7 + 5 * hops for hops in range(4)]
    assert noc.link_cycles == 1


def test_a_hop_between_chiplets_takes_simbas_20_ns() -> None:
    chip = Chip.load("chiplet-2.5d")
    assert chip.nop is not None
    router = chip.noc.router.zero_load_cycles(1, 1) - chip.noc.router.zero_load_cycles(0, 1) - chip.noc.link_cycles
    assert (router + chip.nop.link_cycles) / chip.noc.clock_ghz == 20
    assert chip.nop.chiplet_columns * chip.nop.chiplet_rows == 16
    assert chip.crossing_pj_per_flit == pytest.approx(1.17 * 32)


def test_isaac_draws_the_power_of_its_table() -> None:
    """Table I, an IMA of 8 arrays: 2.4 mW crossbars, 4 mW DACs, 16 mW ADCs, 0.2 mW shift-and-add, every 100 ns."""
    positions = 1000
    found = one_crossbar(Chip.load("isaac"), positions)
    mw_of_an_ima = 8 / (positions * 16 * 100)
    assert found.crossbar_pj * mw_of_an_ima == pytest.approx(2.4, rel=0.002)  # its constants have three digits
    assert found.driver_pj * mw_of_an_ima == pytest.approx(4.0, rel=0.002)
    assert found.adc_pj * mw_of_an_ima == pytest.approx(16.0)
    assert found.shift_add_pj * mw_of_an_ima == pytest.approx(0.2, rel=0.002)
    assert found.latency_cycles == pytest.approx((positions * 16 + 2) * 100)


def test_puma_multiplies_a_matrix_in_its_published_time() -> None:
    """ASPLOS 2019: 16,384 MACs of 16 bits in 2,304 ns at 43.97 nJ, registers included, which are not in ours."""
    chip = Chip.load("puma")
    kept = np.ones((1, 1, 128), np.bool_)
    found = layer_cost(computing(chip), chip.crossbar, chip.precision, 1.0, kept, np.array([128]), 1)
    assert found.latency_cycles == 2304
    assert 0.85 * 43.97e3 < found.energy_pj < 43.97e3


def test_mnsim_takes_its_own_constants() -> None:
    """SimConfig.ini and Hardware_Model: ADC 1.26 mW x (6 + 2) / 1 GS/s; DAC 3.9 uW x 3 ns; cell V^2 / R x 3.16 ns."""
    section = computing(Chip.load("mnsim"))
    assert section.adc.conversion(256) == pytest.approx((1.26 * 8, 8.0))
    assert section.driver_pj_per_row == pytest.approx(3.9e-3 * 3)
    mean_ohm = 1e6 * 1e4 / (0.67 * 1e4 + 0.33 * 1e6)
    cell_pj = 0.1 * 0.15**2 / mean_ohm * 3.16e-9 * 1e12
    assert section.read_pj_per_cell == pytest.approx(2 * cell_pj, rel=1e-3)


def test_hisim_takes_its_own_constants() -> None:
    """functions.py at its defaults: currents and powers scaled from 65 to 28 nm, ADC time from its column law."""
    section = computing(Chip.load("hisim"))
    size, columns, power_scale = 512, 8, 3.85 / 1.14
    adc_ns = 50.48 * 5 / 64 * 0.005 * (256 / size) ** 2 * columns
    read_ns = 0.24 * size / 256
    assert section.read_ns == read_ns
    cell_pj = 3e-6 / power_scale * 0.5 * (adc_ns + read_ns) * 1e-9 * 1e12 / columns
    assert section.read_pj_per_cell == pytest.approx(cell_pj, rel=2e-3)
    adc_mw = 0.2 / power_scale / 0.005 * (size / 256) ** 2
    assert section.adc.conversion(size)[0] == pytest.approx(adc_mw * (adc_ns + read_ns) / columns, rel=2e-3)
    control_pj = (0.0224214 + 0.222787 * (size / 128) ** 2) * columns
    assert section.driver_pj_per_row == pytest.approx(control_pj / size, rel=2e-3)
    shift_pj = 1.73 * 0.49 * (64 / 16 * 11) * columns / 64
    assert section.shift_add_pj == pytest.approx(shift_pj / size, rel=2e-3)
    assert section.accumulate_pj == pytest.approx(9.77 * 0.49 / 12 / 16, rel=5e-3)


def test_neurosim_takes_its_own_constants() -> None:
    """Param.cpp: 0.5 V for 10 ns on 6 kOhm or 150 times that; half of each, where 0.18 of the input bits are set."""
    section = computing(Chip.load("neurosim-22nm"))
    on, off = 6e3, 6e3 * 150
    mean_pj = 0.5**2 * (1 / on + 1 / off) / 2 * 10e-9 * 1e12
    assert section.read_pj_per_cell == pytest.approx(0.18 * mean_pj, rel=1e-3)
