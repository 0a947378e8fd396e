"""A grid of places, and the four directions in it."""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import Ints

EAST, WEST, SOUTH, NORTH = range(4)
STEP = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""(dx, dy) of a link in each direction; y grows to the south."""


@dataclass(frozen=True)
class Grid:
    """`columns` x `rows` places; place = y * columns + x."""

    columns: int
    rows: int

    @property
    def places(self) -> int:
        return self.columns * self.rows

    def coordinates(self, place: Ints) -> tuple[Ints, Ints]:
        """(x, y) of places."""
        return place % self.columns, place // self.columns
