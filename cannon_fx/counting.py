"""What a network costs by the weights it has left, whoever removed the others and in whatever shape.

On the tiles, homes and routes of a plan, channel by channel: an input channel travels to tile (i, j) if some weight
there that reads it is left, tile (i, j) sends the partial sums of those output channels for which it has some weight,
and other ops move the channels there are. Channels that nobody needs (channels.py) do none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cannon_fx.channels import Channels, Pairs, travels
from cannon_fx.cost import Cost, Prices, input_transfers, move_transfers, phases_of, prices
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.communication import LatencyModel, communicate
from cannon_fx.hw.placement import PORT
from cannon_fx.hw.transfers import Transfers
from cannon_fx.layer import Layer
from cannon_fx.modules import matrix_of
from cannon_fx.passes.home_tensors import CONSTANT
from cannon_fx.passes.homes import trace
from cannon_fx.passes.partition import blocks
from cannon_fx.passes.place import Place
from cannon_fx.plans import LayerInput, Move, Plan


@dataclass(frozen=True, eq=False)
class Counter:
    """Counts for the tiles, homes and placement of one plan; `plan` is that plan with channels for connections.

    `whole` are the layers as the network has them. Those of `plan` may be without channels that nobody needs:
    `rows` and `columns` say which input and output channels theirs are.
    """

    whole: Plan
    plan: Plan
    channels: Channels
    rows: Mapping[str, Ints]
    columns: Mapping[str, Ints]

    @classmethod
    def of(cls, plan: Plan) -> Counter:
        """The split over tiles stays as it is; only the channels' homes are worked out again, one by one."""
        whole = replace(plan.alone(), layers=tuple(replace(layer, group_size=1) for layer in plan.layers))
        rows = {layer.name: np.arange(layer.in_channels) for layer in plan.layers}
        columns = {layer.name: np.arange(layer.out_channels) for layer in plan.layers}
        return cls._mapped(whole, whole.layers, rows, columns)

    @classmethod
    def _mapped(
        cls, whole: Plan, layers: tuple[Layer, ...], rows: Mapping[str, Ints], columns: Mapping[str, Ints]
    ) -> Counter:
        homes = {layer.name: np.full(layer.out_channels, CONSTANT) for layer in whole.layers}
        for layer in layers:
            homes[layer.name][columns[layer.name]] = layer.home_of_channel
        found = trace(whole, lambda layer: homes[layer.name])
        inputs = {layer.name: _without(found.inputs[layer.name], rows[layer.name]) for layer in layers}
        tile = np.concatenate([*homes.values(), [CONSTANT, PORT]])
        channels = Channels.of(whole, tile, found.moves)
        return cls(whole, replace(whole, layers=layers, inputs=inputs, moves=found.moves), channels, rows, columns)

    @cached_property
    def prices(self) -> dict[str, Prices]:
        """Per layer name, what its channels' ways cost."""
        return {layer.name: prices(self.plan, layer) for layer in self.plan.layers}

    def compact(self, pairs: Pairs) -> Counter:
        """Mapped anew, by the plan's own options, without the channels that nobody needs when `pairs` are left."""
        needed = self.needed_pairs(pairs)
        layers: list[Layer] = []
        rows, columns, first_tile = {}, {}, 0
        for layer in self.whole.layers:
            rows[layer.name], columns[layer.name] = (np.flatnonzero(needed[layer.name].any(axis)) for axis in (0, 1))
            if len(rows[layer.name]):
                shape = len(columns[layer.name]), len(rows[layer.name]), *layer.weight_shape[2:]
                split = blocks(shape, self.whole.chip, self.whole.options["group_size"])
                sizes = {"row_channels": split["row_channels"], "out_block": split["out_block"]}
                layers.append(replace(layer, weight_shape=shape, first_tile=first_tile, **sizes))  # type: ignore[arg-type]
                first_tile += layers[-1].tiles
        found = Counter._mapped(self.whole, tuple(layers), rows, columns)
        place = Place(self.whole.options["order"], self.whole.options["seed"])
        placement = place.placement(found.plan, found.transfers(pairs))
        return replace(found, plan=replace(found.plan, placement=placement))

    def needed_pairs(self, pairs: Pairs) -> dict[str, NDArray[np.bool_]]:
        """Without the weights of channels that nobody needs."""
        channels = self.channels.needed(pairs).channels
        return {
            layer.name: pairs[layer.name] & channels[self.channels.of_layer(layer)][:, None]
            for layer in self.whole.layers
        }

    def of_layer(self, layer: Layer, pairs: Pairs) -> NDArray[np.bool_]:
        """Of one of the plan's layers, among the channels that it has."""
        return pairs[layer.name][np.ix_(self.columns[layer.name], self.rows[layer.name])]

    def transfers(self, pairs: Pairs) -> Transfers:
        """Every transfer of one inference when these weights are left."""
        plan, phases, needed = self.plan, phases_of(self.plan), self.channels.needed(pairs)
        number = {(phase.kind, phase.node): k for k, phase in enumerate(phases)}
        parts = []
        for layer in plan.layers:
            columns = self.columns[layer.name]
            left = self.of_layer(layer, pairs) & needed.channels[self.channels.first[layer.name] + columns][:, None]
            parts.append(input_transfers(plan, layer, reads(layer, left), number["input", layer.node]))
            parts.append(partial_sums(plan, layer, sends(layer, left), number["partial_sum", layer.node]))
        parts += [move_transfers(plan, self._left(move, needed.rows), number["move", move.node]) for move in plan.moves]
        return Transfers.concatenate(parts)

    def cost(self, pairs: Pairs, density: float, latency_model: LatencyModel = "analytic") -> Cost:
        """What that costs; `density` is the caller's share of weights left."""
        phases = phases_of(self.plan)
        found = communicate(self.transfers(pairs), len(phases), self.plan.placed(), self.plan.chip, latency_model)
        return Cost(
            communication=found,
            phases=phases,
            keep={layer.name: reads(layer, self.of_layer(layer, pairs)) for layer in self.plan.layers},
            density=density,
        )

    def count(self, model: nn.Module, latency_model: LatencyModel = "analytic") -> Cost:
        """The cost of `model` by its weights that are not zero; its density, by those of them that are needed."""
        weights = self._weights(model)
        pairs = {name: np.any(weight, axis=2) for name, weight in weights.items()}
        needed = self.needed_pairs(pairs)
        left = sum(int((weights[name] & needed[name][:, :, None]).sum()) for name in weights)
        return self.cost(pairs, left / max(sum(weight.size for weight in weights.values()), 1), latency_model)

    def density(self, pairs: Pairs) -> float:
        """The share of weights that are needed when all weights in `pairs` are left."""
        needed = self.needed_pairs(pairs)
        left = sum(int(needed[layer.name].sum()) * layer.taps for layer in self.whole.layers)
        return left / max(sum(needed[layer.name].size * layer.taps for layer in self.whole.layers), 1)

    def pairs(self, model: nn.Module) -> Pairs:
        """Between which channels `model` has weights that are not zero."""
        return {name: np.any(weight, axis=2) for name, weight in self._weights(model).items()}

    def compact_for(self, model: nn.Module) -> Counter:
        """The network mapped anew for what `model`'s weights leave."""
        return self.compact(self.pairs(model))

    def masks(self, model: nn.Module) -> dict[str, NDArray[np.bool_]]:
        """Per layer of the whole network, which input channels each of its column blocks reads: bool [J, C]."""
        needed = self.needed_pairs(self.pairs(model))
        return {layer.name: reads(layer, needed[layer.name]) for layer in self.whole.layers}

    def kept_plan(self, pairs: Pairs) -> Plan:
        """The plan with what these weights make travel: the channels that are read, and the moves that are left."""
        rows = self.channels.needed(pairs).rows
        kept = {layer.name: reads(layer, self.of_layer(layer, self.needed_pairs(pairs))) for layer in self.plan.layers}
        moves = tuple(self._left(move, rows) for move in self.plan.moves)
        return replace(self.plan, moves=moves, kept=kept, dynamic=None)

    def _left(self, move: Move, rows: Mapping[str, NDArray[np.bool_]]) -> Move:
        """The move without the channels that nobody needs."""
        if move.node not in self.channels.moves:
            return move
        step, tile = self.channels.moves[move.node], self.channels.tile
        source, target = tile[step.source], tile[step.target]
        goes = rows[move.node] & travels(source, target)
        edges = np.stack([step.producer, source, target])[:, goes]
        (producer, source, target), place = np.unique(edges, axis=1, return_inverse=True)
        elements = np.bincount(place.ravel(), step.elements[goes], len(producer)).astype(np.int64)
        return replace(
            move, producers=step.producers, producer=producer, source=source, target=target, elements=elements
        )

    def _weights(self, model: nn.Module) -> dict[str, NDArray[np.bool_]]:
        """Which weights are not zero: bool [N, C, taps]."""
        found = {}
        for layer in self.whole.layers:
            weight = matrix_of(model.get_submodule(layer.name)).detach()
            shaped = weight.reshape(layer.out_channels, layer.in_channels, layer.taps)
            found[layer.name] = (shaped != 0).cpu().numpy()
        return found


def _without(source: LayerInput, rows: Ints) -> LayerInput:
    """A layer's input when only the channels `rows` have a row."""
    there = np.isin(source.group, rows)
    group = np.searchsorted(rows, source.group[there])
    return LayerInput(source.producer, group, source.home[there], source.elements[there])


def reads(layer: Layer, pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [J, C]: which input channels the tiles of each column block read."""
    return np.logical_or.reduceat(pairs, np.arange(layer.column_blocks) * layer.out_block, axis=0)


def sends(layer: Layer, pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [I, N]: of which output channels the tiles of each row block have some weight."""
    return np.logical_or.reduceat(pairs, np.arange(layer.row_blocks) * layer.row_channels, axis=1).T


def partial_sums(plan: Plan, layer: Layer, sent: NDArray[np.bool_], phase: int) -> Transfers:
    """What a layer's tiles send to the accumulating ones; `sent` is bool [I, N]."""
    channels = np.add.reduceat(sent, np.arange(layer.column_blocks) * layer.out_block, axis=1, dtype=np.int64)
    i, j = np.nonzero(channels * (layer.tile_of != layer.accumulator))
    bits = channels[i, j] * layer.positions * plan.chip.precision.partial_sum_bits
    return Transfers.unicast(phase, layer.tile_of[i, j], layer.accumulator[j], bits)
