"""What a network costs by the weights it has left, whoever removed the others and in whatever shape.

The cost model knows connections, kept whole or cut whole. Weights removed one by one or filter by filter are counted on
the same tiles, homes and routes, channel by channel: an input channel travels to tile (i, j) if some weight there
that reads it is left, and tile (i, j) sends the partial sums of those output channels for which it has some weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cannon_fx.cost import Cost, input_transfers, move_transfers, phases_of
from cannon_fx.hw.communication import LatencyModel, communicate
from cannon_fx.hw.transfers import Transfers
from cannon_fx.layer import Layer
from cannon_fx.passes.homes import Homes
from cannon_fx.passes.place import Place, PlacementOrder
from cannon_fx.plans import Plan


@dataclass(frozen=True, eq=False)
class Demand:
    """Per layer name, for each channel and tile, the strongest of the weights that make it travel.

    `reads` [J, C]: input channel c to the tile of column block j. `sums` [I, N]: output channel n from the tile of
    row block i. With weights' magnitudes as strengths, what is above a threshold is what travels once the weights up
    to it are gone.
    """

    reads: Mapping[str, NDArray[Any]]
    sums: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, plan: Plan, strength: Mapping[str, Tensor]) -> Demand:
        """From each weight's strength, at least 0, shaped like the layer's weight."""
        reads, sums = {}, {}
        for layer in plan.layers:
            table = (
                strength[layer.name].reshape(layer.out_channels, layer.in_channels, layer.taps).amax(2).cpu().numpy()
            )
            columns = np.arange(layer.column_blocks) * layer.out_block
            rows = np.arange(layer.row_blocks) * layer.row_channels
            reads[layer.name] = np.maximum.reduceat(table, columns, axis=0)
            sums[layer.name] = np.maximum.reduceat(table, rows, axis=1).T
        return cls(reads, sums)

    def above(self, threshold: float) -> Demand:
        """The same as True and False: stronger than the threshold."""
        return Demand(
            {name: table > threshold for name, table in self.reads.items()},
            {name: table > threshold for name, table in self.sums.items()},
        )


@dataclass(frozen=True, eq=False)
class Counter:
    """Counts for the tiles, homes and placement of one plan; `plan` is that plan with channels for connections."""

    plan: Plan

    @classmethod
    def of(cls, plan: Plan) -> Counter:
        """The split over tiles stays as it is; only the channels' homes are worked out again, one by one."""
        layers = tuple(replace(layer, group_size=1) for layer in plan.layers)
        return cls(Homes()(replace(plan, layers=layers)))

    def transfers(self, demand: Demand) -> Transfers:
        """Every transfer of one inference, for a demand of True and False."""
        plan, phases = self.plan, phases_of(self.plan)
        number = {(phase.kind, phase.node): k for k, phase in enumerate(phases)}
        parts = []
        for layer in plan.layers:
            parts.append(input_transfers(plan, layer, demand.reads[layer.name], number["input", layer.node]))
            parts.append(_partial_sums(plan, layer, demand.sums[layer.name], number["partial_sum", layer.node]))
        parts += [move_transfers(plan, move, number["move", move.node]) for move in plan.moves]
        return Transfers.concatenate(parts)

    def cost(self, demand: Demand, density: float, latency_model: LatencyModel = "analytic") -> Cost:
        """What that costs; `density` is the caller's share of weights left."""
        phases = phases_of(self.plan)
        found = communicate(self.transfers(demand), len(phases), self.plan.placed(), self.plan.chip, latency_model)
        return Cost(communication=found, phases=phases, keep=demand.reads, density=density)

    def count(self, model: nn.Module, latency_model: LatencyModel = "analytic") -> Cost:
        """The cost of `model` by its weights that are not zero."""
        left = {layer.name: _weight(model, layer) != 0 for layer in self.plan.layers}
        density = sum(int(mask.sum()) for mask in left.values()) / sum(mask.numel() for mask in left.values())
        return self.cost(Demand.of(self.plan, left), density, latency_model)

    def placed_for(self, model: nn.Module, order: PlacementOrder, seed: int = 0) -> Counter:
        """The tiles placed anew for the transfers that `model`'s weights leave."""
        left = {layer.name: _weight(model, layer) != 0 for layer in self.plan.layers}
        transfers = self.transfers(Demand.of(self.plan, left))
        return Counter(replace(self.plan, placement=Place(order, seed).placement(self.plan, transfers)))


def _partial_sums(plan: Plan, layer: Layer, sends: NDArray[np.bool_], phase: int) -> Transfers:
    """What a layer's tiles send to the accumulating ones; `sends` is bool [I, N]."""
    channels = np.add.reduceat(sends, np.arange(layer.column_blocks) * layer.out_block, axis=1, dtype=np.int64)
    i, j = np.nonzero(channels * (layer.tile_of != layer.accumulator))
    bits = channels[i, j] * layer.positions * plan.chip.precision.partial_sum_bits
    return Transfers.unicast(phase, layer.tile_of[i, j], layer.accumulator[j], bits)


def _weight(model: nn.Module, layer: Layer) -> Tensor:
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    return weight.detach()
