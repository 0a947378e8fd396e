"""Which rows of which tile carry a kept weight, against looking at every weight."""

from __future__ import annotations

import numpy as np
import pytest

from cannon_fx.compute import kept_rows
from cannon_fx.layer import Layer


@pytest.mark.parametrize("seed", range(20))
def test_kept_rows_are_those_with_a_kept_weight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group_size = int(rng.integers(1, 5))
    layer = Layer(
        name="x",
        kind="conv2d",
        node="x",
        weight_shape=(int(rng.integers(1, 20)), int(rng.integers(1, 30)), *([int(rng.integers(1, 4))] * 2)),
        positions=5,
        group_size=group_size,
        row_channels=group_size * int(rng.integers(1, 4)),
        out_block=int(rng.integers(1, 8)),
        first_tile=0,
    )
    keep = rng.random((layer.column_blocks, layer.groups)) < 0.4
    found = kept_rows(layer, keep)
    expected = np.zeros_like(found)
    for channel in range(layer.in_channels):
        for tap in range(layer.taps):
            for j in range(layer.column_blocks):
                if keep[j, channel // group_size]:
                    row = channel % layer.row_channels * layer.taps + tap
                    expected[channel // layer.row_channels, j, row] = True
    assert np.array_equal(found, expected)
    assert found.sum() * 1 == sum(
        int(keep[j, c // group_size]) * layer.taps for c in range(layer.in_channels) for j in range(layer.column_blocks)
    )
