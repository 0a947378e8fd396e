"""Which blocks of a weight are kept: the one description that every block-sparse kernel reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BlockLists:
    """The kept blocks as index lists, int32, all on one device. A block's slot is its place in CSR order.

    The two lists that a kernel's inner loop walks end with one zero too many, so that it may load an index ahead.
    """

    row_start: Tensor
    """[J + 1]: column block j keeps the blocks row_start[j] .. row_start[j + 1] - 1 of CSR order"""
    row_group: Tensor
    """[nnz + 1]: the channel group of each block, in CSR order"""
    col_start: Tensor
    """[G + 1]: the same lists of the transposed pattern"""
    col_block: Tensor
    """[nnz + 1]: the column block of each block, in CSC order"""
    col_slot: Tensor
    """[nnz]: its slot"""
    block_of: Tensor
    """[nnz, 2]: (j, g) of each slot"""


@dataclass(frozen=True, eq=False)
class BlockPattern:
    """`keep` is bool [J, G]: block (j, g) is `out_block` output by `group_size` input channels of the weight.

    The last block of either side may be smaller: J = ceil(out_channels / out_block),
    G = ceil(in_channels / group_size). For a convolution with groups, in_channels is in_channels / groups.
    Raises ValueError when a size is not positive or `keep` has another shape. A pattern never changes.
    """

    keep: Tensor
    out_channels: int
    in_channels: int
    out_block: int
    group_size: int
    _lists: dict[torch.device, BlockLists] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = self.out_channels, self.in_channels, self.out_block, self.group_size
        if min(sizes) < 1:
            raise ValueError(
                f"a pattern's out_channels, in_channels, out_block and group_size must be positive, got {sizes}"
            )
        if self.keep.dtype != torch.bool or tuple(self.keep.shape) != self.shape:
            raise ValueError(
                f"a pattern of {self.out_channels} x {self.in_channels} channels in blocks of {self.out_block} x "
                f"{self.group_size} needs bool {list(self.shape)}, got {self.keep.dtype} {list(self.keep.shape)}"
            )
        # Made here and not at first use, where a compiler may be tracing.
        self._lists[self.keep.device] = index_lists(self.keep)

    @property
    def shape(self) -> tuple[int, int]:
        """(J, G)."""
        return -(-self.out_channels // self.out_block), -(-self.in_channels // self.group_size)

    @property
    def channels(self) -> tuple[int, int]:
        """(out_channels, in_channels)."""
        return self.out_channels, self.in_channels

    @property
    def nnz(self) -> int:
        """Kept blocks."""
        return self._lists[self.keep.device].block_of.shape[0]

    @property
    def density(self) -> float:
        """Kept blocks over all blocks."""
        return self.nnz / self.keep.numel()

    @property
    def live(self) -> Tensor:
        """bool [in_channels]: whether any weight of an input channel is kept."""
        return self.keep.any(0).repeat_interleave(self.group_size)[: self.in_channels]

    def lists(self, device: torch.device) -> BlockLists:
        """The index lists on `device`; copied there once."""
        if device not in self._lists:
            made = self._lists[self.keep.device]
            self._lists[device] = BlockLists(**{name: tensor.to(device) for name, tensor in vars(made).items()})
        return self._lists[device]

    def spread(self, blocks: Tensor) -> Tensor:
        """One value per block [J, G] -> one per pair of channels [out_channels, in_channels]."""
        rows = blocks.repeat_interleave(self.out_block, 0)[: self.out_channels]
        return rows.repeat_interleave(self.group_size, 1)[:, : self.in_channels]

    def sums(self, weight: Tensor) -> Tensor:
        """Sum over each block: [out_channels, in_channels, *taps] -> [J, G]."""
        channels = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
        blocks, groups = self.shape
        padding = (0, groups * self.group_size - self.in_channels, 0, blocks * self.out_block - self.out_channels)
        padded = torch.nn.functional.pad(channels, padding)
        return padded.view(blocks, self.out_block, groups, self.group_size).sum((1, 3))


def index_lists(keep: Tensor) -> BlockLists:
    """The lists of a mask, bool [J, G], on the mask's device."""
    block_of = keep.nonzero()
    slots = torch.zeros(keep.shape, dtype=torch.int64, device=keep.device)
    slots[keep] = torch.arange(len(block_of), device=keep.device)
    transposed = keep.T.nonzero()  # (g, j), by g, then by j
    pad = (0, 1)
    return BlockLists(
        row_start=_starts(keep.sum(1)),
        row_group=torch.nn.functional.pad(block_of[:, 1], pad).int(),
        col_start=_starts(keep.sum(0)),
        col_block=torch.nn.functional.pad(transposed[:, 1], pad).int(),
        col_slot=slots.T[keep.T].int(),
        block_of=block_of.int().contiguous(),  # nonzero() gives it column by column
    )


def _starts(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int()
