"""Which blocks of a weight are kept: the one description that every block-sparse kernel reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BlockPattern:
    """`keep` is bool [J, G]: block (j, g) is `out_block` output by `group_size` input channels of the weight.

    The last block of either side may be smaller: J = ceil(out_channels / out_block),
    G = ceil(in_channels / group_size). Raises ValueError when `keep` has another shape.
    """

    keep: Tensor
    out_channels: int
    in_channels: int
    out_block: int
    group_size: int

    def __post_init__(self) -> None:
        if self.keep.dtype != torch.bool or tuple(self.keep.shape) != self.shape:
            raise ValueError(
                f"a pattern of {self.out_channels} x {self.in_channels} channels in blocks of {self.out_block} x "
                f"{self.group_size} needs bool {list(self.shape)}, got {self.keep.dtype} {list(self.keep.shape)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(J, G)."""
        return -(-self.out_channels // self.out_block), -(-self.in_channels // self.group_size)

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
