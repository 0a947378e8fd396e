"""Launches grad-weight: the kept blocks of grad^T x, summed over positions; a linear layer is one image of height 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .configuration import Configuration, Problem
from .device import check_rows, descriptor, descriptors_fit, precision, processors, shared_limit, wide
from .grad_weight import block_grad_weight, sum_parts
from .product import Taps
from .schedule import grad_weight_tiles
from .tune import choose

SUM_BLOCK = 1024


@dataclass(frozen=True)
class Outer:
    """One grad-weight. The channels of `grad` and `x` come last and lie side by side."""

    grad: Tensor
    """[images, height, width, out_channels]"""
    x: Tensor
    """[images, x height, x width, groups * in_channels]"""
    out: Tensor
    """dense [out_channels, taps_h, taps_w, in_channels] or packed [nnz, out_block, taps_h, taps_w, group_size].
    Taps lie at equal distances. Kept blocks are written whole, cut ones are not touched."""
    block_of: Tensor
    taps: Taps
    in_channels: int
    """of one group"""
    out_block: int
    group_size: int
    groups: int

    @property
    def packed(self) -> bool:
        return self.out.dim() == 5

    @property
    def tap_count(self) -> int:
        return math.prod(self.out.shape[-3:-1])

    @property
    def pointwise(self) -> bool:
        return self.taps.pointwise(self.x, self.grad, self.tap_count)

    @property
    def rows(self) -> int:
        """Positions summed over."""
        return math.prod(self.grad.shape[:3])

    @property
    def problem(self) -> Problem:
        return Problem(
            op="grad_weight",
            dtype=str(self.x.dtype).removeprefix("torch."),
            precision=precision(self.x.dtype),
            rows=self.rows,
            n_extent=self.group_size,
            k_unit=self.out_block,
            pointwise=self.pointwise,
            whole_steps=False,
            descriptors=self.pointwise and self.groups == 1 and descriptors_fit(self.grad, self.x),
            shared_limit=shared_limit(self.x.device),
        )

    def run(self, configuration: Configuration | None = None) -> None:
        check_rows(self.rows)
        if self.rows == 0 or len(self.block_of) == 0:
            self.out.zero_()
            return
        with torch.cuda.device_of(self.x):
            self.launch(configuration or choose(self.problem, self.launch, self.x.device))

    def launch(self, configuration: Configuration) -> None:
        column_blocks = triton.cdiv(self.grad.shape[-1], self.out_block)
        tiles = grad_weight_tiles(self.block_of, column_blocks, self.group_size, configuration.block_n)
        parts = triton.cdiv(self.out_block, configuration.block_m)
        grid = len(tiles.block) * parts, self.tap_count
        splits = self.splits(math.prod(grid), configuration)
        taps_h, taps_w = self.out.shape[-3:-1]
        out = self.out
        if splits > 1:
            size = len(self.block_of) * self.out_block * self.tap_count * self.group_size
            shape = splits, len(self.block_of), self.out_block, taps_h, taps_w, self.group_size
            out = torch.empty(shape, dtype=torch.float32, device=self.x.device)
        grad, x = self.grad, self.x
        if configuration.descriptors:
            rows = self.rows
            grad = descriptor(self.grad.view(rows, -1), (configuration.block_k, configuration.block_m))
            x = descriptor(self.x.view(rows, -1), (configuration.block_k, configuration.block_n))
        block_grad_weight[(*grid, splits)](
            grad, x, out,
            tiles.row_start, tiles.row_group, tiles.block, tiles.part,
            self.rows, *self.grad.shape[1:3], *self.x.shape[1:3],
            *self.x.stride()[:3], *self.grad.stride()[:3],
            *self.taps.stride, *self.taps.origin, *self.taps.step, taps_w,
            *strides(out[0] if splits > 1 else out), out.stride(0) if splits > 1 else 0,
            self.grad.shape[-1], self.in_channels, column_blocks // self.groups, self.in_channels,
            triton.cdiv(triton.cdiv(self.rows, splits), configuration.block_k) * configuration.block_k,
            O_UNIT=self.out_block, C_UNIT=self.group_size,
            POINTWISE=self.pointwise, PACKED=self.packed or splits > 1, PRECISION=precision(self.x.dtype),
            WIDE=wide(self.x, self.grad), DESCRIPTORS=configuration.descriptors,
            BLOCK_O=configuration.block_m, BLOCK_C=configuration.block_n, BLOCK_K=configuration.block_k,
            num_warps=configuration.warps, num_stages=configuration.stages,
        )  # fmt: skip
        if splits > 1:
            sum_parts[(triton.cdiv(size, SUM_BLOCK),)](
                out, self.out, self.block_of,
                splits, size,
                self.tap_count, *strides(self.out), self.grad.shape[-1], self.in_channels,
                O_UNIT=self.out_block, C_UNIT=self.group_size, PACKED=self.packed, BLOCK=SUM_BLOCK,
            )  # fmt: skip

    def splits(self, programs: int, configuration: Configuration) -> int:
        """Over how many programs to split the positions: two waves of programs, eight steps in each at the least."""
        wanted = 2 * processors(self.x.device) // programs
        return max(1, min(wanted, self.rows // (8 * configuration.block_k), 64))


def strides(out: Tensor) -> tuple[int, int, int, int]:
    """(o, c, tap, slot) of a dense or packed weight; no slot when dense."""
    *slot, o, _, tap, c = out.stride()
    return o, c, tap, slot[0] if slot else 0
