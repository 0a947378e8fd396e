"""Placement: the orders, the size of the mesh, and where the port stands."""

from __future__ import annotations

from typing import Any

import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.placement import PORT, mesh_of, place


def chip(**noc: Any) -> Chip:
    data = Chip.load("siam-32nm").dump()
    data["noc"] |= noc
    return Chip.parse_data(data, "test")


def test_row_major_fills_rows_one_after_another() -> None:
    placement = place(chip(columns=3, rows=4), 8, "row-major")
    assert placement.router.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert placement.tiles == 8


def test_snake_turns_back_at_each_end() -> None:
    placement = place(chip(columns=3, rows=4, port=(1, 2)), 11, "snake")
    assert placement.router.tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8, 11, 10, 2 * 3 + 1]
    neighbours = placement.mesh.hops(placement.router[:-2], placement.router[1:-1])
    assert neighbours.tolist() == [1] * 10


def test_snake_is_the_default() -> None:
    assert place(chip(), 9).router.tolist() == place(chip(), 9, "snake").router.tolist()
    assert place(chip(), 9).router.tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8, 0]


@pytest.mark.parametrize("order", ["row-major", "snake"])
@pytest.mark.parametrize("tiles", [1, 2, 4, 5, 16, 17, 99])
def test_every_tile_has_a_router_of_its_own(order: Any, tiles: int) -> None:
    placement = place(chip(port=(2, 1)), tiles, order)
    tile_routers = placement.router[:-1].tolist()
    assert placement.tiles == len(set(tile_routers)) == tiles
    assert 0 <= min(tile_routers) <= max(tile_routers) < placement.mesh.routers
    assert placement.router[PORT] == 1 * placement.mesh.columns + 2


@pytest.mark.parametrize(
    ("tiles", "port", "edge"),
    [(0, (0, 0), 1), (1, (0, 0), 1), (2, (0, 0), 2), (4, (0, 0), 2), (5, (0, 0), 3), (9, (0, 0), 3), (10, (0, 0), 4),
     (4, (2, 0), 3), (4, (0, 4), 5), (30, (2, 1), 6), (1000001, (0, 0), 1001)],
)  # fmt: skip
def test_a_free_mesh_is_the_smallest_square_that_holds_tiles_and_port(
    tiles: int, port: tuple[int, int], edge: int
) -> None:
    mesh = mesh_of(chip(port=port), tiles)
    assert (mesh.columns, mesh.rows) == (edge, edge)


def test_a_given_mesh_is_kept_and_can_be_full() -> None:
    mesh = mesh_of(chip(columns=7, rows=2), 14)
    assert (mesh.columns, mesh.rows) == (7, 2)
    with pytest.raises(ChipError, match=r"15 tiles.*7 x 2 = 14"):
        place(chip(columns=7, rows=2), 15)


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ChipError, match="row-major, snake"):
        place(chip(), 4, "spiral")  # type: ignore[arg-type]
