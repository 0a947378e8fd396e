"""The Hilbert curve: every rectangle whole, and neighbours in order are neighbours but for one."""

from __future__ import annotations

import numpy as np
import pytest

from cannon_fx.hw.grid import Grid
from cannon_fx.hw.hilbert import hilbert


@pytest.mark.parametrize("columns", range(1, 25))
def test_visits_every_place_once_and_takes_at_most_one_diagonal_step(columns: int) -> None:
    for rows in range(1, 25):
        curve = hilbert(Grid(columns, rows))
        assert np.sort(curve).tolist() == list(range(columns * rows))
        assert curve[0] == 0
        x, y = curve % columns, curve // columns
        dx, dy = np.abs(np.diff(x)), np.abs(np.diff(y))
        assert np.maximum(dx, dy).max(initial=0) <= 1
        diagonal = int((dx + dy == 2).sum())
        parity_forces_it = max(columns, rows) % 2 == 1 and min(columns, rows) % 2 == 0
        assert diagonal <= (1 if parity_forces_it else 0)


def test_the_smallest_square_is_a_bracket() -> None:
    assert hilbert(Grid(2, 2)).tolist() == [0, 2, 3, 1]


def mean_distance(curve: np.ndarray, edge: int, apart: int) -> float:
    x, y = curve % edge, curve // edge
    return float(np.hypot(x[apart:] - x[:-apart], y[apart:] - y[:-apart]).mean())


@pytest.mark.parametrize("edge", [16, 32])
def test_keeps_far_tiles_of_the_order_nearer_than_rows_do(edge: int) -> None:
    """What a snake cannot: tiles two rows' length apart in order stand nearer than in two whole rows."""
    snake = np.arange(edge**2).reshape(edge, edge)
    snake[1::2] = snake[1::2, ::-1].copy()
    for apart in (edge // 4, edge // 2, edge - 1):
        assert mean_distance(hilbert(Grid(edge, edge)), edge, apart) < mean_distance(snake.ravel(), edge, apart)
