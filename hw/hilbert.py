"""A Hilbert curve through a rectangle of any size: tiles that follow each other stay near in both directions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arrays import Ints
from .grid import Grid

Vector = tuple[int, int]


def hilbert(grid: Grid) -> Ints:
    """The grid's places along the curve, int64 [routers], from place 0 to the far end of the longer side.

    Each place is a neighbour of the one before, except for at most one diagonal step (two hops), which comes only
    where the longer side is odd and the shorter one even: no path from corner to corner without it exists there.
    """
    wide = grid.columns >= grid.rows
    sides = ((1, 0), grid.columns, (0, 1), grid.rows) if wide else ((0, 1), grid.rows, (1, 0), grid.columns)
    return np.fromiter((y * grid.columns + x for x, y in _walk((0, 0), *sides)), np.int64, grid.places)


def _go(at: Vector, step: Vector, count: int) -> Vector:
    return at[0] + step[0] * count, at[1] + step[1] * count


def _even_half(length: int) -> int:
    """Half a side, rounded to an even number where it can be: parts with even sides join without a diagonal step."""
    half = length // 2
    return half + (half % 2 if length > 2 else 0)


def _walk(at: Vector, along: Vector, length: int, across: Vector, width: int) -> Iterator[Vector]:
    """From `at` to the other end of the side `along`, through every point of length x width.

    After J. Červený's generalised Hilbert curve: a long rectangle is cut into two that follow each other; another is
    walked up its first half, along its whole top, and down its second half.
    """
    if width == 1 or length == 1:
        step, count = (along, length) if width == 1 else (across, width)
        yield from (_go(at, step, k) for k in range(count))
        return
    half = _even_half(length)
    if 2 * length > 3 * width:
        yield from _walk(at, along, half, across, width)
        yield from _walk(_go(at, along, half), along, length - half, across, width)
        return
    low, half = _even_half(width), length // 2
    back, down = (-along[0], -along[1]), (-across[0], -across[1])
    end = _go(_go(at, along, length - 1), across, low - 1)
    yield from _walk(at, across, low, along, half)
    yield from _walk(_go(at, across, low), along, length, across, width - low)
    yield from _walk(end, down, low, back, length - half)
