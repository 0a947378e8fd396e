"""A mesh network-on-chip with XY routing: hops between routers and loads of the links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

EAST, WEST, SOUTH, NORTH = range(4)
STEP = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""(dx, dy) of a link in each direction; y grows to the south."""


@dataclass(frozen=True)
class Mesh:
    """`columns` x `rows` routers; router = y * columns + x."""

    columns: int
    rows: int

    @property
    def routers(self) -> int:
        return self.columns * self.rows

    def coordinates(self, router: Ints) -> tuple[Ints, Ints]:
        """(x, y) of routers."""
        return router % self.columns, router // self.columns

    def hops(self, source: Ints, target: Ints) -> Ints:
        """Links traversed from router to router: their Manhattan distance."""
        (xs, ys), (xt, yt) = self.coordinates(source), self.coordinates(target)
        return np.abs(xs - xt) + np.abs(ys - yt)

    def link_loads(self, phase: Ints, source: Ints, target: Ints, flits: Ints, phases: int) -> Ints:
        """Flits over every link in every phase, under XY routing.

        `phase`, `source`, `target`, `flits` have one entry per transfer (routers, not tiles). Returns
        int64 [phases, 4, rows, columns]: flits that leave router (x, y) to the east, west, south, north.
        A path is a run of links, so it is entered as +flits at its start and -flits behind its end, and
        one cumulative sum per direction turns that into loads: the cost does not grow with the hops.
        """
        (xs, ys), (xt, yt) = self.coordinates(source), self.coordinates(target)
        edges = np.zeros((phases, 4, self.rows + 1, self.columns + 1), np.int64)

        def run(direction: int, y: Ints, x: Ints, y_end: Ints, x_end: Ints, chosen: NDArray[np.bool_]) -> None:
            np.add.at(edges[:, direction], (phase[chosen], y[chosen], x[chosen]), flits[chosen])
            np.add.at(edges[:, direction], (phase[chosen], y_end[chosen], x_end[chosen]), -flits[chosen])

        run(EAST, ys, xs, ys, xt, xt > xs)
        run(WEST, ys, xt + 1, ys, xs + 1, xt < xs)
        run(SOUTH, ys, xt, yt, xt, yt > ys)
        run(NORTH, yt + 1, xt, ys + 1, xt, yt < ys)
        edges[:, :2] = edges[:, :2].cumsum(axis=3)
        edges[:, 2:] = edges[:, 2:].cumsum(axis=2)
        return edges[:, :, :-1, :-1]
