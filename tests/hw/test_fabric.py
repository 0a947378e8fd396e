"""The chip's network: its size, its topology, and where the port hangs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.fabric import fabric
from cannon_fx.hw.grid import Grid

NOP = {"chiplet_columns": 4, "chiplet_rows": 2, "link_cycles": 5, "cycles_per_flit": 2, "pj_per_bit": 0.5}


def chip(nop: dict[str, Any] | None = None, **noc: Any) -> Chip:
    data = Chip.load("siam-32nm").dump()
    data["noc"] |= noc
    data["noc"]["router"]["num_vcs"] = 2
    return Chip.parse_data(data | ({"nop": nop} if nop else {}), "test")


@pytest.mark.parametrize(
    ("tiles", "port", "edge"),
    [(0, (0, 0), 1), (1, (0, 0), 1), (2, (0, 0), 2), (4, (0, 0), 2), (5, (0, 0), 3), (9, (0, 0), 3), (10, (0, 0), 4),
     (4, (2, 0), 3), (4, (0, 4), 5), (30, (2, 1), 6), (40001, (0, 0), 201)],
)  # fmt: skip
def test_a_free_mesh_is_the_smallest_square_that_holds_tiles_and_port(
    tiles: int, port: tuple[int, int], edge: int
) -> None:
    _, grid = fabric(chip(port=port), tiles)
    assert (grid.columns, grid.rows) == (edge, edge)


def test_a_given_mesh_is_kept_and_can_be_full() -> None:
    _, grid = fabric(chip(columns=7, rows=2), 14)
    assert (grid.columns, grid.rows) == (7, 2)
    with pytest.raises(ChipError, match=r"15 tiles.*7 x 2 = 14"):
        fabric(chip(columns=7, rows=2), 15)


@pytest.mark.parametrize(
    ("options", "tiles", "grid", "routers"),
    [
        ({"topology": "torus"}, 10, (4, 4), 16),
        ({"topology": "ring"}, 10, (10, 1), 10),
        ({"topology": "ring", "port": (11, 0)}, 10, (12, 1), 12),
        ({"topology": "ring", "columns": 15}, 10, (15, 1), 15),
        ({"topology": "tree", "concentration": 2}, 8, (8, 1), 7),
        ({"topology": "cmesh", "concentration": 4}, 17, (6, 6), 9),
        ({"topology": "cmesh", "concentration": 6}, 17, (6, 4), 4),
        ({"topology": "cmesh", "concentration": 4, "columns": 5, "rows": 2}, 17, (10, 4), 10),
        ({"topology": "chiplets", "nop": NOP}, 9, (8, 4), 32),
        ({"topology": "chiplets", "nop": NOP, "port": (0, 5)}, 9, (12, 6), 72),
    ],
)
def test_other_topologies_are_sized_to_their_tiles(
    options: dict[str, Any], tiles: int, grid: tuple[int, int], routers: int
) -> None:
    network, found = fabric(chip(**options), tiles)
    assert (found.columns, found.rows) == grid
    assert network.routers == routers
    assert network.nodes == found.places + 1
    assert found.places >= tiles


def test_nodes_stand_on_the_grid_in_order() -> None:
    network, grid = fabric(chip(topology="cmesh", concentration=4, port=(1, 0)), 16)
    x, y = grid.coordinates(np.arange(grid.places))
    assert network.node_router[:-1].tolist() == (y // 2 * 2 + x // 2).tolist()
    assert network.node_router[-1] == 1
    assert network.place.tolist() == [[0, 0], [2, 0], [0, 2], [2, 2]]
    assert grid == Grid(4, 4)


def test_a_size_that_cuts_a_chiplet_is_refused() -> None:
    with pytest.raises(ChipError, match="10 x 4 tiles cannot be cut into chiplets of 4 x 2"):
        fabric(chip(nop=NOP, topology="chiplets", columns=10, rows=4), 9)
