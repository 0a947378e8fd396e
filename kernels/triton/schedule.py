"""The work of a launch as index lists: which kept blocks each tile of an output visits, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakIdKeyDictionary

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Schedule:
    """Of a product y[rows, n] = x[rows, k] weight[n, k]; int32 tensors. A span is `span` consecutive blocks of n.

    Each group of a convolution is a problem of its own: their spans follow one another in `start` and `order`, and
    blocks are counted inside their group.
    """

    span: int
    spans: int
    """of one group"""
    start: Tensor
    """[groups * spans + 1]: span s visits the entries start[s] .. start[s + 1] - 1"""
    block: Tensor
    """[entries + 1]: the block of k of each entry, and one zero too many, so that it may be loaded ahead"""
    slot: Tensor
    """[entries + 1, span]: the slot of each of the span's blocks at that k; -1 where it is cut"""
    order: Tensor
    """[groups * spans]: the spans of a group, those with most entries first"""

    @property
    def entries(self) -> int:
        """Blocks of k visited, over all spans."""
        return len(self.block) - 1


def schedule(n_block: Tensor, k_block: Tensor, slot: Tensor, n_blocks: int, groups: int, span: int) -> Schedule:
    """The schedule of the kept blocks (n_block, k_block) and their slots.

    `n_blocks` are the blocks of n in one group; `n_block` counts on through the groups, `k_block` starts anew in each.
    """
    spans = -(-n_blocks // span)
    group, inside = n_block.long() // n_blocks, n_block.long() % n_blocks
    width = int(k_block.max()) + 1 if len(k_block) else 1
    entry, place = torch.unique((group * spans + inside // span) * width + k_block, return_inverse=True)
    slots = torch.full((len(entry) + 1, span), -1, dtype=torch.int32, device=slot.device)
    slots[place, inside % span] = slot.int()
    counts = torch.bincount(entry // width, minlength=groups * spans)
    return Schedule(
        span=span,
        spans=spans,
        start=pad(counts.cumsum(0), (1, 0)).int(),
        block=pad(entry % width, (0, 1)).int(),
        slot=slots,
        order=counts.view(groups, spans).sort(dim=1, descending=True, stable=True).indices.flatten().int(),
    )


def forward_schedule(block_of: Tensor, blocks: int, groups: int, span: int) -> Schedule:
    """n: the `blocks` column blocks of one group; k: channel groups. `block_of` [nnz, 2] as in BlockLists."""
    column_block, channel_group = block_of.T
    slot = torch.arange(len(block_of), device=block_of.device)
    return cached(block_of, ("forward", blocks, groups, span),
                  lambda: schedule(column_block, channel_group, slot, blocks, groups, span))  # fmt: skip


def grad_input_schedule(
    col_start: Tensor, col_block: Tensor, col_slot: Tensor, blocks: int, groups: int, span: int
) -> Schedule:
    """n: channel groups; k: the `blocks` column blocks of one group. The lists as in BlockLists."""

    def make() -> Schedule:
        channel_groups = len(col_start) - 1
        channel_group = torch.arange(channel_groups, device=col_start.device).repeat_interleave(col_start.diff())
        column_block = col_block[:-1].long()
        n_block = column_block // blocks * channel_groups + channel_group
        return schedule(n_block, column_block % blocks, col_slot, channel_groups, groups, span)

    return cached(col_block, ("grad_input", blocks, groups, span), make)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of a grad-weight: each `block_c` of the channels that a column block keeps, in CSR order; int32."""

    row_start: Tensor
    """[J + 1] and [nnz + 1]: as in BlockLists"""
    row_group: Tensor
    block: Tensor
    """[tiles]: the column block of each tile"""
    part: Tensor
    """[tiles]: its place among the tiles of its column block"""


def grad_weight_tiles(block_of: Tensor, blocks: int, group_size: int, block_c: int) -> Tiles:
    """Of the kept blocks `block_of` [nnz, 2] of `blocks` column blocks."""

    def make() -> Tiles:
        kept = torch.bincount(block_of[:, 0], minlength=blocks)
        counts = -(-kept * group_size // block_c)
        block = torch.arange(blocks, device=block_of.device).repeat_interleave(counts)
        part = torch.arange(len(block), device=block_of.device) - (counts.cumsum(0) - counts)[block]
        row_start = pad(kept.cumsum(0), (1, 0)).int()
        return Tiles(row_start, pad(block_of[:, 1], (0, 1)).contiguous(), block.int(), part.int())

    return cached(block_of, ("grad_weight", blocks, group_size, block_c), make)


_made: WeakIdKeyDictionary = WeakIdKeyDictionary()


def cached(lists: Tensor, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` returns, once for each `key` as long as the tensor `lists` lives. A pattern's lists never change.

    Making it waits for the device, so a CUDA graph needs one call before its capture.
    """
    made: dict[Hashable, Made] = _made.setdefault(lists, {})
    if key not in made:
        made[key] = make()
    return made[key]
