"""The crossbars against a loop over every tile, crossbar, read, pulse, column and cell, in whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw.chip import Chip
from cannon_fx.layer import Layer
from cannon_fx.quantise.adc import Adc
from cannon_fx.quantise.crossbars import Crossbars

LOSSLESS = 2**40


def chip(**changes: Any) -> Chip:
    """demo-32nm with changed keys, written section__key; precision__… and compute__… go to their sections."""
    data = Chip.load("demo-32nm").dump()
    for name, value in changes.items():
        section, key = name.split("__")
        data[section][key] = value
    return Chip.parse_data(data, "test")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Chip, Layer, Any]:
    """A small chip, a layer with a random split, and a generator for its numbers."""
    cell_bits = draw(st.integers(1, 4))
    weight_bits = draw(st.integers(2, 9))
    at = chip(
        crossbar__rows=draw(st.integers(2, 7)),
        crossbar__columns=24,
        crossbar__cell_bits=cell_bits,
        precision__weight_bits=weight_bits,
        precision__activation_bits=draw(st.integers(1, 8)),
        compute__input_bits=draw(st.integers(1, 3)),
        compute__rows_per_read=draw(st.integers(1, 8)),
    )
    taps = draw(st.integers(1, 3))
    group_size = draw(st.integers(1, 3))
    layer = Layer(
        name="x",
        kind="conv2d",
        node="x",
        weight_shape=(draw(st.integers(1, 7)), draw(st.integers(1, 9)), taps, 1),
        positions=1,
        group_size=group_size,
        row_channels=group_size * draw(st.integers(1, 3)),
        out_block=draw(st.integers(1, 4)),
        first_tile=0,
    )
    return at, layer, np.random.default_rng(draw(st.integers(0, 2**32)))


def numbers(at: Chip, layer: Layer, rng: Any) -> tuple[Any, Any, Any]:
    """Kept connections [J, G], codes [N, K] that are not zero where cut (they must not count), inputs [K, 3]."""
    keep = rng.random((layer.column_blocks, layer.groups)) < 0.6
    rows = layer.in_channels * layer.taps
    largest = 2 ** (at.precision.weight_bits - 1) - 1
    codes = rng.integers(-largest, largest + 1, (layer.out_channels, rows))
    return keep, codes, rng.integers(0, 2**at.precision.activation_bits, (rows, 3))


def kept(layer: Layer, keep: Any) -> Any:
    """bool [N, K], element by element."""
    found = np.zeros((layer.out_channels, layer.in_channels * layer.taps), bool)
    for n in range(layer.out_channels):
        for row in range(found.shape[1]):
            found[n, row] = keep[n // layer.out_block, row // layer.taps // layer.group_size]
    return found


def walk(at: Chip, layer: Layer, keep: Any, codes: Any, inputs: Any, levels: int, step: Any) -> Any:
    """The layer's product with every column's sum read at one of `levels`, `step[s]` apart."""
    assert at.compute is not None
    bits, cell_bits = at.precision.weight_bits, at.crossbar.cell_bits
    mask = kept(layer, keep)
    found = np.zeros((layer.out_channels, inputs.shape[1]))
    for n in range(layer.out_channels):
        for i in range(layer.row_blocks):
            first = i * layer.row_channels * layer.taps
            last = min(first + layer.row_channels * layer.taps, codes.shape[1])
            for top in range(first, last, at.crossbar.rows):
                driven = [row for row in range(top, min(top + at.crossbar.rows, last)) if mask[n, row]]
                while driven:
                    read, driven = driven[: at.compute.rows_per_read], driven[at.compute.rows_per_read :]
                    found[n] += one_read(at, codes[n, read], inputs[read], bits, cell_bits, levels, step)
    return found


def one_read(at: Chip, codes: Any, inputs: Any, bits: int, cell_bits: int, levels: int, step: Any) -> Any:
    """One output channel, one read: codes [r], inputs [r, P]."""
    assert at.compute is not None
    found = np.zeros(inputs.shape[1])
    pulse_bits = min(at.compute.input_bits, at.precision.activation_bits)
    for pulse in range(math.ceil(at.precision.activation_bits / pulse_bits)):
        driven = inputs // 2 ** (pulse * pulse_bits) % 2**pulse_bits
        for s in range(math.ceil(bits / cell_bits)):
            stored = codes % 2**bits if cell_bits == 1 else codes + 2 ** (bits - 1)
            cell = stored // 2 ** (s * cell_bits) % 2**cell_bits
            level = np.minimum(np.round(cell @ driven / step[s]), levels - 1)
            negative = cell_bits == 1 and s == bits - 1
            found += (-1 if negative else 1) * level * step[s] * 2 ** (s * cell_bits + pulse * pulse_bits)
    if cell_bits > 1:
        found -= 2 ** (bits - 1) * inputs.sum(0)
    return found


@settings(deadline=None)
@given(cases())
def test_lossless_adcs_give_the_integer_product_exactly(case: tuple[Chip, Layer, Any]) -> None:
    at, layer, rng = case
    keep, codes, inputs = numbers(at, layer, rng)
    crossbars = Crossbars.of(layer, at, keep, torch.from_numpy(codes))
    expected = (codes * kept(layer, keep)) @ inputs
    adc = Adc(LOSSLESS, torch.ones(crossbars.slices, dtype=torch.float64))
    assert np.array_equal(crossbars.read(torch.from_numpy(inputs), adc), expected)
    assert np.array_equal(crossbars.exact(torch.from_numpy(inputs)), expected)


@settings(deadline=None, max_examples=40)
@given(cases(), st.integers(1, 4), st.booleans())
def test_adcs_round_and_clip_each_column_of_each_read(case: tuple[Chip, Layer, Any], bits: int, whole: bool) -> None:
    at, layer, rng = case
    keep, codes, inputs = numbers(at, layer, rng)
    crossbars = Crossbars.of(layer, at, keep, torch.from_numpy(codes))
    # Powers of two, so that the level nearest to a sum is the same in any arithmetic.
    step = np.ones(crossbars.slices) if whole else 2.0 ** rng.integers(0, 3, crossbars.slices)
    found = crossbars.read(torch.from_numpy(inputs), Adc(2**bits, torch.from_numpy(step)))
    assert np.array_equal(found, walk(at, layer, keep, codes, inputs, 2**bits, step))


@settings(deadline=None, max_examples=20)
@given(cases())
def test_seen_counts_every_sum(case: tuple[Chip, Layer, Any]) -> None:
    """As many sums as conversions that hw/compute.py pays for, each as the square of its pulse."""
    at, layer, rng = case
    assert at.compute is not None
    keep, codes, inputs = numbers(at, layer, rng)
    crossbars = Crossbars.of(layer, at, keep, torch.from_numpy(codes))
    seen = crossbars.seen(torch.from_numpy(inputs))
    pulses = math.ceil(at.precision.activation_bits / crossbars.input_bits)
    squares = sum(4 ** (pulse * crossbars.input_bits) for pulse in range(pulses))
    reads = sum(len(block.rows) * block.cells.shape[1] for block in crossbars.blocks)
    assert seen.sum(1).tolist() == [squares * reads * inputs.shape[1]] * crossbars.slices


def test_the_steps_are_those_of_least_error() -> None:
    """One column that is always 8 and one that is 0 … 3; four levels."""
    seen = np.zeros((2, 13))
    seen[0, 8], seen[1, :4] = 5, 1
    adc = Adc.fit(2, seen, torch.device("cpu"))
    assert adc(torch.tensor([[8.0], [3.0]])).tolist() == [[2], [3]] or adc.step[0] * 3 == pytest.approx(8, rel=0.03)
    assert adc.step[1] == 1
