"""What the launches decide: boxes of positions, spans of blocks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton", reason="Triton is not installed")


@given(st.integers(4, 8), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60))
def test_boxes_hold_the_positions_they_should(power: int, images: int, height: int, width: int) -> None:
    from cannon_fx.kernels.triton.product import best_box

    box = best_box(1 << power, images, height, width)
    assert math.prod(box) == 1 << power
    line = images * height * -(-width // (1 << power))
    assert math.prod(-(-n // side) for n, side in zip((images, height, width), box, strict=True)) <= line


def test_boxes_of_known_sizes() -> None:
    from cannon_fx.kernels.triton.product import best_box

    assert best_box(128, 1, 1, 4096) == (1, 1, 128)
    assert best_box(128, 8, 16, 16) == (1, 8, 16)
    assert best_box(128, 8, 8, 8) == (2, 8, 8)


def test_blocks_are_walked_together_where_their_patterns_agree() -> None:
    from cannon_fx.kernels.pattern import index_lists
    from cannon_fx.kernels.triton.product import Product, Taps, best_span
    from cannon_fx.kernels.triton.schedule import forward_schedule

    x, y, weight = torch.zeros(1, 1, 8, 1024), torch.zeros(1, 1, 8, 256), torch.zeros(256, 1, 1, 1024)
    product = Product(x, weight, False, y, None, "none", Taps(), n=256, k=1024, n_unit=16, k_unit=64, groups=1)
    every_fourth = torch.zeros(16, 16, dtype=torch.bool)
    for row in range(16):
        every_fourth[row, row // 4 :: 4] = True  # four rows after another keep the same
    alone = torch.eye(16, dtype=torch.bool)
    for keep, span in ((torch.ones_like(alone), 8), (every_fourth, 4), (alone, 1)):
        block_of = index_lists(keep).block_of
        assert best_span(product, lambda width, made=block_of: forward_schedule(made, 16, 1, width)).span == span
