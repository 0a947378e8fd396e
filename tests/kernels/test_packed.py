"""Packed storage against loops over single weights."""

from __future__ import annotations

import itertools

import pytest
import torch

from cannon_fx.kernels.packed import pack, unpack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight


@pytest.mark.parametrize("taps", [(), (3, 2)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 6, 2, 3), (5, 7, 2, 3), (3, 4, 8, 8)])
@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_slots_hold_their_blocks_and_zeros_beyond_the_edge(
    shape: tuple[int, int, int, int], taps: tuple[int, ...], density: float
) -> None:
    out, inp, out_block, group_size = shape
    blocks = -(-out // out_block), -(-inp // group_size)
    keep = torch.rand(blocks, generator=torch.Generator().manual_seed(3)) < density
    pattern = BlockPattern(keep, out, inp, out_block, group_size)
    weight = torch.randn(out, inp, *taps)
    packed = pack(weight, pattern)
    assert packed.shape == (pattern.nnz, out_block, group_size, *taps)
    kept = [(j, g) for j, g in itertools.product(range(blocks[0]), range(blocks[1])) if keep[j, g]]
    for slot, (j, g) in enumerate(kept):
        for n, c in itertools.product(range(out_block), range(group_size)):
            row, column = j * out_block + n, g * group_size + c
            expected = weight[row, column] if row < out and column < inp else torch.zeros(taps)
            assert torch.equal(packed[slot, n, c], expected)
    assert torch.equal(unpack(packed, pattern), masked_weight(weight, pattern.spread(keep)))


def test_gradients_of_packing_and_unpacking() -> None:
    pattern = BlockPattern(torch.tensor([[True, False, True], [False, True, True]]), 5, 7, 3, 3)
    weight = torch.randn(5, 7, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: pack(w, pattern), weight)
    assert torch.autograd.gradcheck(lambda w: unpack(pack(w, pattern), pattern), weight)
