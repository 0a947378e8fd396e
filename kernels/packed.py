"""Packed weights: the kept blocks alone, one after another.

[nnz, out_block, group_size, *taps] in CSR order. Blocks cut short by the weight's edge are filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

from .pattern import BlockPattern


def pack(weight: Tensor, pattern: BlockPattern) -> Tensor:
    """[out_channels, in_channels, *taps] -> [nnz, out_block, group_size, *taps]; differentiable."""
    blocks, groups = pattern.shape
    taps = weight.shape[2:]
    edge = (
        *(0, 0) * len(taps),
        *(0, groups * pattern.group_size - pattern.in_channels),
        *(0, blocks * pattern.out_block - pattern.out_channels),
    )
    tiled = pad(weight, edge).view(blocks, pattern.out_block, groups, pattern.group_size, *taps)
    block, group = pattern.lists(weight.device).block_of.long().T
    return tiled.transpose(1, 2)[block, group]


def unpack(packed: Tensor, pattern: BlockPattern) -> Tensor:
    """[nnz, out_block, group_size, *taps] -> [out_channels, in_channels, *taps], zeros where cut; differentiable."""
    sizes = *pattern.channels, pattern.out_block, pattern.group_size
    return unpack_blocks(packed, pattern.lists(packed.device).block_of, sizes)


def unpack_blocks(packed: Tensor, block_of: Tensor, sizes: Sequence[int]) -> Tensor:
    """The same from a pattern's list, [nnz, 2], and sizes: out_channels, in_channels, out_block, group_size."""
    out_channels, in_channels, out_block, group_size = sizes
    blocks, groups, taps = -(-out_channels // out_block), -(-in_channels // group_size), packed.shape[3:]
    block, group = block_of.long().T
    tiled = packed.new_zeros(blocks, groups, *packed.shape[1:]).index_put((block, group), packed).transpose(1, 2)
    return tiled.reshape(blocks * out_block, groups * group_size, *taps)[:out_channels, :in_channels]
