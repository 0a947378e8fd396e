"""Launches the product kernels: y = x weight, over images; a linear layer is one image of height 1."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .configuration import Configuration, Problem
from .descriptors import block_matmul_descriptors
from .device import check_rows, descriptor, descriptors_fit, precision, processors, shared_limit, wide
from .matmul import block_matmul
from .schedule import Schedule
from .tune import choose

Pair = tuple[int, int]


@dataclass(frozen=True)
class Taps:
    """Where a tap reads, (h, w): x position = stride * y position + origin + tap * step."""

    stride: Pair = (1, 1)
    origin: Pair = (0, 0)
    step: Pair = (0, 0)

    def pointwise(self, x: Tensor, y: Tensor, count: int) -> bool:
        """Whether `count` taps are one that reads position m of x [1, 1, M, channels] for position m of y."""
        alone = count == 1 and self.stride == (1, 1) and self.origin == (0, 0)
        return alone and x.shape[:2] == (1, 1) and x.shape[:3] == y.shape[:3]


@dataclass(frozen=True)
class Product:
    """One product, every tensor with channels last and side by side. Groups share x's and y's channels between them."""

    x: Tensor
    """[images, x height, x width, groups * k]"""
    weight: Tensor
    """dense [o, taps_h, taps_w, c] or packed [nnz, out_block, taps_h, taps_w, group_size]"""
    k_first: bool
    """whether k is o and n is c (grad-input), or n is o and k is c (forward)"""
    y: Tensor
    """[images, height, width, groups * n], written whole"""
    bias: Tensor | None
    activation: str
    taps: Taps
    n: int
    """channels of n in one group"""
    k: int
    n_unit: int
    """channels of n in one block"""
    k_unit: int
    groups: int

    @property
    def packed(self) -> bool:
        return self.weight.dim() == 5

    @property
    def rows(self) -> int:
        """Positions of y."""
        return math.prod(self.y.shape[:3])

    @property
    def pointwise(self) -> bool:
        return self.taps.pointwise(self.x, self.y, math.prod(self.weight.shape[-3:-1]))

    def problem(self, schedule: Schedule) -> Problem:
        return Problem(
            op="product",
            dtype=str(self.x.dtype).removeprefix("torch."),
            precision=precision(self.x.dtype),
            rows=self.rows,
            n_extent=self.n_unit * schedule.span,
            k_unit=self.k_unit,
            pointwise=self.pointwise,
            whole_steps=schedule.span > 1,
            descriptors=self.groups == 1
            and schedule.span == 1
            and self.taps.stride == (1, 1)
            and descriptors_fit(self.x, self.weight),
            shared_limit=shared_limit(self.x.device),
        )

    def run(self, schedule_of: Callable[[int], Schedule], configuration: Configuration | None = None) -> None:
        """`schedule_of` makes the schedule of a span."""
        check_rows(self.rows)
        if self.y.numel() == 0:
            return
        schedule = best_span(self, schedule_of)
        with torch.cuda.device_of(self.x):
            if configuration is None:
                problem = self.problem(schedule)
                configuration = choose(problem, functools.partial(self.launch, schedule), self.x.device)
            self.launch(schedule, configuration)

    def launch(self, schedule: Schedule, configuration: Configuration) -> None:
        (self.launch_descriptors if configuration.descriptors else self.launch_pointers)(schedule, configuration)

    def launch_pointers(self, schedule: Schedule, configuration: Configuration) -> None:
        parts = triton.cdiv(self.n_unit * schedule.span, configuration.block_n)
        tiles = triton.cdiv(self.rows, configuration.block_m) * schedule.spans * parts
        *slot, o, tap_h, tap_w, c = self.weight.stride()
        taps_h, taps_w = self.weight.shape[-3:-1]
        x_image, x_row, x_column, _ = self.x.stride()
        y_image, y_row, y_column, _ = self.y.stride()
        block_matmul[(tiles, self.groups)](
            self.x, self.weight, self.bias, self.y,
            schedule.start, schedule.block, schedule.slot, schedule.order, schedule.spans,
            self.rows, *self.y.shape[1:3], *self.x.shape[1:3],
            x_image, x_row, x_column, y_image, y_row, y_column,
            *self.taps.stride, *self.taps.origin, *self.taps.step,
            *((c, o) if self.k_first else (o, c)), tap_h, tap_w, slot[0] if slot else 0,
            self.n, self.k,
            self.k, self.n, 0 if slot else (self.k if self.k_first else self.n) * o,
            TAPS=taps_h * taps_w, TAPS_W=taps_w, N_UNIT=self.n_unit, K_UNIT=self.k_unit,
            SPAN=schedule.span,
            POINTWISE=self.pointwise, PACKED=self.packed,
            K_EVEN=self.k % self.k_unit == 0,
            N_EVEN=self.n % (self.n_unit * schedule.span) == 0
            and self.n_unit * schedule.span % configuration.block_n == 0,
            WIDE=wide(self.x, self.weight, self.y),
            BIAS=self.bias is not None, ACTIVATION=self.activation, PRECISION=precision(self.x.dtype),
            BLOCK_M=configuration.block_m, BLOCK_N=configuration.block_n, BLOCK_K=configuration.block_k,
            GROUP_M=configuration.group_m, num_warps=configuration.warps, num_stages=configuration.stages,
        )  # fmt: skip

    def launch_descriptors(self, schedule: Schedule, configuration: Configuration) -> None:
        box = best_box(configuration.block_m, *self.y.shape[:3])
        boxes = math.prod(triton.cdiv(size, side) for size, side in zip(self.y.shape[:3], box, strict=True))
        tiles = boxes * schedule.spans * (self.n_unit // configuration.block_n)
        sides = (configuration.block_n, 1, 1, configuration.block_k)
        weight_box = (1,) * self.packed + (sides[::-1] if self.k_first else sides)
        taps_h, taps_w = self.weight.shape[-3:-1]
        block_matmul_descriptors[(min(tiles, programs(self.x, configuration)),)](
            descriptor(self.x, (*box, configuration.block_k)), descriptor(self.weight, weight_box),
            self.bias, self.y,
            schedule.start, schedule.block, schedule.slot, schedule.order, schedule.spans,
            *self.y.shape[:3], *self.y.stride()[:3],
            *self.taps.origin, *self.taps.step,
            self.n,
            TAPS=taps_h * taps_w, TAPS_W=taps_w, N_UNIT=self.n_unit, K_UNIT=self.k_unit,
            PACKED=self.packed, K_FIRST=self.k_first,
            BIAS=self.bias is not None, ACTIVATION=self.activation, PRECISION=precision(self.x.dtype),
            BOX_IMAGES=box[0], BOX_H=box[1], BOX_W=box[2],
            BLOCK_N=configuration.block_n, BLOCK_K=configuration.block_k, GROUP_M=configuration.group_m,
            num_warps=configuration.warps, num_stages=configuration.stages,
        )  # fmt: skip


def best_span(product: Product, schedule_of: Callable[[int], Schedule]) -> Schedule:
    """How many blocks of n a tile should walk together, by the bytes that tiles fetch through L2.

    A tile of 128 rows fetches 128 + n_extent channels per entry. Wide tiles have fewer entries in all, but a block of k
    that one of their blocks of n keeps is fetched for all of them: the more, the less their patterns agree.
    """
    spans = {1}
    if product.groups == 1 and product.n_unit < 64 and product.k_unit & -product.k_unit >= 16:
        spans |= {max(1, min(extent, product.n) // product.n_unit) for extent in (64, 128)}
    schedules = [schedule_of(span) for span in sorted(spans)]
    return min(schedules, key=lambda made: made.entries * (128 + made.span * product.n_unit))


def best_box(positions: int, images: int, height: int, width: int) -> tuple[int, int, int]:
    """Sides, powers of two, of the box of `positions` that covers all positions with fewest boxes; wide ones first."""

    def boxes(box: tuple[int, int, int]) -> int:
        return triton.cdiv(images, box[0]) * triton.cdiv(height, box[1]) * triton.cdiv(width, box[2])

    sides = [1 << power for power in reversed(range(positions.bit_length()))]
    return min(((positions // (h * w), h, w) for w in sides for h in sides if h * w <= positions), key=boxes)


def programs(x: Tensor, configuration: Configuration) -> int:
    """How many programs of a persistent grid run at a time: as many as fit into shared memory and registers."""
    by_shared = shared_limit(x.device) // configuration.shared_bytes(x.element_size())
    return processors(x.device) * max(1, min(by_shared, 16 // configuration.warps))
