"""SIAM (and MNSIM 2.0, which took over its network-on-chip): packet traces, and the tables that describe the layers.

A trace has rows `source target time`; every packet is one flit of the bus width. Times are cycles, as in Packets;
SIAM's own traces begin at 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import ChipError
from ..traffic import MOST, Packets, integer_rows, text_of


def to_siam_trace(packets: Packets) -> str:
    """Rows by time. A packet of L flits becomes L packets of one: SIAM knows no longer ones."""
    order = np.argsort(packets.time, kind="stable")
    columns = (packets.source, packets.target, packets.time)
    return text_of(*(np.repeat(column[order], packets.flits[order]) for column in columns))


def from_siam_trace(text: str, origin: str = "trace", nodes: int = MOST) -> Packets:
    """Packets of one flit each. Raises ChipError with the line that is wrong, as `Packets.parse` does."""
    node = (0, nodes - 1)
    source, target, time = integer_rows(text, origin, {"source": node, "target": node, "time": (0, MOST)}).T
    return Packets(time, source, target, np.ones_like(time))


def to_siam_layers(
    tiles: Sequence[int],
    activations: Sequence[int],
    inferences_per_second: float,
    chiplets: Sequence[tuple[int, int, int]] | None = None,
) -> dict[str, str]:
    """File name -> text of the tables without headers that SIAM's network-on-chip scripts read.

    Per layer, in order: `num_tiles_per_layer.csv` and `ip_activation.csv` (elements of the layer's input; MNSIM
    wants bits there). Once: `fps.csv`. Per chiplet: `chiplet_breakup.csv` (first layer, last layer, chiplets that a
    layer too large for one takes) and `mesh_size.csv` (edge of the smallest square that holds its tiles).
    `chiplets` are the rows of the breakup; without them all layers are on one. Raises ChipError.
    """
    if len(tiles) != len(activations) or not tiles:
        raise ChipError(f"{len(tiles)} layers with tiles and {len(activations)} with activations: give both per layer.")
    if min(tiles) < 1 or min(activations) < 1 or not 0 < inferences_per_second < math.inf:
        raise ChipError("tiles, activations and inferences per second must be above 0, and finite.")
    breakup = [(0, len(tiles) - 1, 1)] if chiplets is None else list(chiplets)
    following = [0, *(last + 1 for _, last, _ in breakup)]
    whole = [first for first, _, _ in breakup] == following[:-1] and following[-1] == len(tiles)
    if not whole or any(last < first or count < 1 for first, last, count in breakup):
        raise ChipError(f"chiplets {breakup} do not hold the layers 0 to {len(tiles) - 1} one after another.")
    edges = [math.isqrt(math.ceil(sum(tiles[a : b + 1]) / n) - 1) + 1 for a, b, n in breakup]
    return {
        "num_tiles_per_layer.csv": _lines(tiles),
        "ip_activation.csv": _lines(activations),
        "fps.csv": _lines([inferences_per_second]),
        "chiplet_breakup.csv": "".join(f"{first},{last},{count}\n" for first, last, count in breakup),
        "mesh_size.csv": _lines(edges),
    }


def _lines(values: Sequence[float]) -> str:
    return "".join(f"{value:.12g}\n" for value in values)
