"""What computing costs inside the tiles, layer by layer: the second table, beside communication."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cannon_fx.hw.compute import ComputeCost, layer_cost
from cannon_fx.layer import Layer
from cannon_fx.plans import Keep, Plan


def compute_costs(plan: Plan, keep: Keep) -> dict[str, ComputeCost]:
    """Per layer name, energy and latency of its crossbars under `keep`; empty for a chip without [compute]."""
    chip = plan.chip
    if chip.compute is None:
        return {}
    return {
        layer.name: layer_cost(
            chip.compute,
            chip.crossbar,
            chip.precision,
            chip.noc.clock_ghz,
            kept_rows(layer, keep[layer.name]),
            layer.column_channels,
            layer.positions,
        )
        for layer in plan.layers
    }


COMPONENTS = ("crossbar_pj", "driver_pj", "adc_pj", "shift_add_pj", "accumulate_pj")


def compute_total(plan: Plan, keep: Keep) -> dict[str, float] | None:
    """Sums over the layers: each of `COMPONENTS`, energy_pj, latency_cycles; None for a chip without [compute]."""
    costs = compute_costs(plan, keep).values()
    if plan.chip.compute is None:
        return None
    return {name: sum(getattr(c, name) for c in costs) for name in (*COMPONENTS, "energy_pj", "latency_cycles")}


def kept_rows(layer: Layer, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [I, J, rows]: which rows of tile (i, j) carry a kept weight; all taps of a channel are rows in a row."""
    channel = np.arange(layer.in_channels)
    row_block, place = np.divmod(channel, layer.row_channels)
    rows = np.zeros((layer.row_blocks, layer.column_blocks, layer.row_channels, layer.taps), np.bool_)
    rows[row_block, :, place] = keep.T[channel // layer.group_size][:, :, None]
    return rows.reshape(layer.row_blocks, layer.column_blocks, -1)
