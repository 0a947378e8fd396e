"""Tile shapes: what may be chosen, and what is taken where nothing has been measured.

No device has been measured yet: everything here is untuned. `tune.py` measures the candidates on the device at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Configuration:
    """A tile of a product is `block_m` rows by `block_n` output channels; a step of its loop covers `block_k` channels.

    In grad-weight a tile is `block_m` output by `block_n` input channels, and a step covers `block_k` positions.
    """

    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    descriptors: bool = False
    group_m: int = 8

    def shared_bytes(self, itemsize: int) -> int:
        """Shared memory of the buffers that loads fill ahead."""
        return self.stages * (self.block_m + self.block_n) * self.block_k * itemsize


@dataclass(frozen=True)
class Problem:
    """What the choice of a configuration depends on."""

    op: str
    """product or grad_weight"""
    dtype: str
    precision: str
    rows: int
    """rows of y; in grad-weight the positions summed over. Rounded up to a power of two, at most 2^14"""
    n_extent: int
    """channels that lie together along a tile's second side: of a span of n; in grad-weight of a channel group"""
    k_unit: int
    """channels of a block of k; in grad-weight output channels of a block, along a tile's first side"""
    pointwise: bool
    """whether each position is read alone, so that rows need no second address"""
    whole_steps: bool
    """whether a step must lie inside one block of k"""
    descriptors: bool
    """whether device and tensors allow descriptors"""
    shared_limit: int
    """bytes of shared memory that a program may have"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", power_of_two(self.rows, 1, 1 << 14))

    @property
    def itemsize(self) -> int:
        return 4 if self.dtype == "float32" else 2


def power_of_two(size: int, least: int, most: int) -> int:
    """The smallest power of two that holds `size`, at least `least` and at most `most`."""
    return min(max(1 << (size - 1).bit_length(), least), most)


def default(problem: Problem) -> Configuration:
    """What is taken without a measurement."""
    return next(candidates(problem))


def candidates(problem: Problem) -> Iterator[Configuration]:
    """What is worth measuring; the first is the default."""
    seen = set()
    for block_m, block_n, block_k, warps, stages in _shapes(problem):
        for descriptors in (True, False):
            if descriptors and not (problem.descriptors and _even(problem, block_m, block_n, block_k)):
                continue
            # Addresses by pointers leave no registers for a larger tile.
            if not descriptors and block_m * block_n > 128 * 128:
                continue
            # As many stages as fit.
            for depth in range(stages, 1, -1):
                configuration = Configuration(block_m, block_n, block_k, warps, depth, descriptors)
                if configuration.shared_bytes(problem.itemsize) <= problem.shared_limit:
                    if configuration not in seen:
                        seen.add(configuration)
                        yield configuration
                    break


def _shapes(problem: Problem) -> Iterator[tuple[int, int, int, int, int]]:
    """(block_m, block_n, block_k, warps, stages)."""
    if problem.op == "grad_weight":
        side = power_of_two(problem.k_unit, 16, 128)
        # Small groups are gathered to fill a tile.
        for block_n in (max(64, power_of_two(problem.n_extent, 16, 128)), 128, 64, 32):
            if problem.itemsize == 4:
                yield min(side, 64), min(block_n, 64), 32, 4, 3
            else:
                yield side, block_n, 64, 8 if side * block_n > 64 * 64 else 4, 4
        return
    side = power_of_two(problem.n_extent, 16, 128)
    step = problem.k_unit & -problem.k_unit if problem.whole_steps else 128
    if problem.itemsize == 4:
        yield power_of_two(problem.rows, 16, 64), min(side, 64), min(step, 32), 4, 3
        yield power_of_two(problem.rows, 16, 128), min(side, 32), min(step, 32), 4, 3
        return
    # Where taps move the rows, their positions too must stay in registers: fewer rows, more warps.
    rows = power_of_two(problem.rows, 16, 256 if problem.pointwise else 128)
    few = 4 if problem.pointwise else 8
    yield min(rows, 128), side, min(step, 64), 8 if rows * side > 128 * 64 else few, 4
    yield min(rows, 128), min(side, 64), min(step, 64), few, 4
    yield min(rows, 64), side, min(step, 64), 4, 4
    yield rows, side, min(step, 64), 8, 3
    yield rows, min(side, 64), min(step, 64), 8, 4
    yield min(rows, 128), side, min(step, 32), few, 5
    yield min(rows, 64), min(side, 32), min(step, 128), 4, 3


def _even(problem: Problem, block_m: int, block_n: int, block_k: int) -> bool:
    """Whether tiles and steps divide the blocks: a descriptor knows no mask."""
    if problem.op == "grad_weight":
        return problem.k_unit % block_m == 0 and problem.n_extent % block_n == 0
    return problem.n_extent % block_n == 0 and problem.k_unit % block_k == 0
