"""A traffic matrix as text: flits from each node, a row, to each node, a column."""

from __future__ import annotations

import numpy as np

from ..arrays import Ints
from ..errors import ChipError
from ..traffic import MOST


def from_matrix(text: str, nodes: int, origin: str = "matrix") -> Ints:
    """int64 [nodes, nodes] from numbers divided by commas or blanks; `#` starts a comment.

    Raises ChipError for a matrix of another size, and for what is no whole number from 0 on, with the line.
    """
    rows: list[list[int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            row = [int(word) for word in words]
        except ValueError:
            row = [-1]
        if min(row) < 0 or max(row) > MOST:
            raise ChipError(f"{origin}, line {number}: flits are whole numbers from 0 to {MOST}. Correct the line.")
        if len(row) != nodes:
            raise ChipError(
                f"{origin}, line {number}: {len(row)} numbers, but the network has {nodes} nodes. Give a matrix of "
                f"{nodes} x {nodes}, or a network of another size."
            )
        rows.append(row)
    if len(rows) != nodes:
        raise ChipError(
            f"{origin} has {len(rows)} rows, but the network has {nodes} nodes. Give a matrix of {nodes} x {nodes}, or "
            "a network of another size."
        )
    return np.array(rows, np.int64)
