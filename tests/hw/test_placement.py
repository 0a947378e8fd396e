"""Placement: the orders, the size of the mesh, and where the port stands."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.placement import PORT, Order, place


def chip(**noc: Any) -> Chip:
    data = Chip.load("siam-32nm").dump()
    data["noc"] |= noc
    return Chip.parse_data(data, "test")


def test_row_major_fills_rows_one_after_another() -> None:
    placement = place(chip(columns=3, rows=4), 8, "row-major")
    assert placement.node.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 12]
    assert placement.tiles == 8


def test_snake_turns_back_at_each_end() -> None:
    placement = place(chip(columns=3, rows=4, port=(1, 2)), 11, "snake")
    assert placement.node.tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8, 11, 10, 12]
    neighbours = placement.network.hops(placement.node[:-2], placement.node[1:-1])
    assert neighbours.tolist() == [1] * 10


def test_hilbert_folds_the_order_in_both_directions() -> None:
    placement = place(chip(columns=4, rows=4), 16, "hilbert")
    assert placement.node.tolist() == [0, 1, 5, 4, 8, 12, 13, 9, 10, 14, 15, 11, 7, 6, 2, 3, 16]


def test_snake_is_the_default() -> None:
    assert place(chip(), 9).node.tolist() == place(chip(), 9, "snake").node.tolist()
    assert place(chip(), 9).node.tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("order", get_args(Order))
@pytest.mark.parametrize("tiles", [1, 2, 4, 5, 16, 17, 99])
def test_every_tile_has_a_place_of_its_own(order: Any, tiles: int) -> None:
    placement = place(chip(port=(2, 1)), tiles, order)
    nodes = placement.node[:-1].tolist()
    assert placement.tiles == len(set(nodes)) == tiles
    assert 0 <= min(nodes) <= max(nodes) < placement.grid.places
    assert placement.network.node_router[placement.node[PORT]] == 1 * placement.grid.columns + 2


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(ChipError, match="row-major, snake, hilbert"):
        place(chip(), 4, "spiral")  # type: ignore[arg-type]
