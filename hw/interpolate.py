"""Straight lines between the points of a table: exact at every point, an error outside."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .errors import ChipError

Axis = tuple[str, Sequence[float], float]
"""(name for errors, knots in rising order, value looked up)."""


def interpolate(table: ArrayLike, *axes: Axis) -> float:
    """The value of `table`, one dimension per axis, multilinear between knots.

    Between two knots the result lies between their values, so a table that rises gives a function that rises.
    Raises ChipError for a value that is not a number or lies outside the knots: nothing is extrapolated.
    """
    values = np.asarray(table, np.float64)
    for name, knots, value in axes:
        if not math.isfinite(value) or not knots[0] <= value <= knots[-1]:
            raise ChipError(
                f"{name} = {value} lies outside the energy model's table, which goes from {knots[0]} to {knots[-1]}. "
                'Choose a value inside, or give your own numbers: model = "constants".'
            )
        left = min(int(np.searchsorted(knots, value, "right")) - 1, len(knots) - 2)
        part = (value - knots[left]) / (knots[left + 1] - knots[left])
        values = values[left] + part * (values[left + 1] - values[left]) if part < 1 else values[left + 1]
    return float(values)
