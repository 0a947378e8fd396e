"""Channels: which output channels of the layers anybody needs, once some weights are gone.

The homes pass follows where every element lies. Walked once more with a home of its own for every channel, the graph
tells which channel each element is of, and so what layers and other ops make of which channels. From the network's
outputs backwards, a channel is needed when a weight that is left reads it, or when another op brings it to a channel
that is needed. What nobody needs is dead code: it is not computed, summed up or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.placement import PORT
from cannon_fx.layer import Layer
from cannon_fx.passes.home_tensors import CONSTANT
from cannon_fx.passes.homes import trace
from cannon_fx.plans import Keep, Move, Plan

Pairs = Mapping[str, NDArray[np.bool_]]
"""Per layer name, between which channels weights are left: bool [N, C], output by input channel."""


def pairs_of(layers: Iterable[Layer], keep: Keep) -> dict[str, NDArray[np.bool_]]:
    """The pairs of channels in the connections that are kept."""
    return {
        layer.name: keep[layer.name]
        .repeat(layer.out_block, 0)[: layer.out_channels]
        .repeat(layer.group_size, 1)[:, : layer.in_channels]
        for layer in layers
    }


@dataclass(frozen=True, eq=False)
class Reading:
    """A layer reads channel `channel[k]` of its input, which is channel `source[k]` of the network."""

    layer: Layer
    channel: Ints
    source: Ints


@dataclass(frozen=True, eq=False)
class Moving:
    """Another op brings `elements[k]` elements of channel `source[k]` to where channel `target[k]` is.

    They are of what graph node `producers[producer[k]]` made.
    """

    node: str
    producers: tuple[str, ...]
    producer: Ints
    source: Ints
    target: Ints
    elements: Ints


@dataclass(frozen=True, eq=False)
class Needed:
    """Of all channels, which are needed; of each op that moves any, which of its rows."""

    channels: NDArray[np.bool_]
    rows: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Channels:
    """The output channels of all layers, numbered through: layer l's begin at `first[l]`. PORT is the network's input.

    `steps` are the layers and the other ops that move channels, in the graph's order. `moves` are those ops whose
    traffic is the sum of their channels'. The channels of all other ops (a mean over channels that each tile begins on
    its own), and those that last (see Traced), are always needed: `pinned`. `tile`, int [channels + 2], says where
    each is; its last two entries are those of CONSTANT and PORT.
    """

    first: Mapping[str, int]
    tile: Ints
    steps: tuple[Reading | Moving, ...]
    moves: Mapping[str, Moving]
    pinned: NDArray[np.bool_]

    @classmethod
    def of(cls, plan: Plan, tile: Ints, moves: tuple[Move, ...]) -> Channels:
        """Of a plan's graph, when its channels are on these tiles and its ops make these moves."""
        starts = np.cumsum([0, *(layer.out_channels for layer in plan.layers)])
        first = {layer.name: int(start) for layer, start in zip(plan.layers, starts[:-1], strict=True)}

        def channel_of(layer: Layer) -> Ints:
            """Constants keep that home, so that what is added to one stays the channel it was."""
            channel = first[layer.name] + np.arange(layer.out_channels)
            return np.where(tile[channel] == CONSTANT, CONSTANT, channel)

        found = trace(plan, channel_of)
        pinned = np.zeros(len(tile), np.bool_)
        pinned[[CONSTANT, PORT, *found.lasting]] = True
        layers, real = {layer.node: layer for layer in plan.layers}, {move.node: move for move in moves}
        by_channel, known = {move.node: move for move in found.moves}, {}
        steps: list[Reading | Moving] = []
        for node in plan.exported.graph.nodes:
            if layer := layers.get(node.name):
                source = found.inputs[layer.name]
                steps.append(Reading(layer, source.group, source.home))
            elif move := by_channel.get(node.name):
                step = Moving(move.node, move.producers, move.producer, move.source, move.target, move.elements)
                steps.append(step)
                if move.by_rule and _adds_up(step, tile, real.get(node.name)):
                    known[node.name] = step
                else:
                    pinned[move.source] = pinned[move.target] = True
        return cls(first, tile, tuple(steps), known, pinned)

    def __len__(self) -> int:
        return len(self.tile) - 2

    def of_layer(self, layer: Layer) -> slice:
        """Its output channels."""
        return slice(self.first[layer.name], self.first[layer.name] + layer.out_channels)

    def needed(self, pairs: Pairs) -> Needed:
        """What is needed when these weights are left."""
        channels: NDArray[np.bool_] = self.pinned.copy()
        rows: dict[str, NDArray[np.bool_]] = {}
        for step in reversed(self.steps):
            if isinstance(step, Reading):
                read = np.any(pairs[step.layer.name] & channels[self.of_layer(step.layer)][:, None], axis=0)
                channels[step.source[read[step.channel]]] = True
            else:
                rows[step.node] = channels[step.target]
                # What an op brings somewhere may go on from there, as the statistics of a norm do.
                while not channels[step.source[rows[step.node]]].all():
                    channels[step.source[rows[step.node]]] = True
                    rows[step.node] = channels[step.target]
        return Needed(channels, rows)


def travels(source: Ints, target: Ints) -> NDArray[np.bool_]:
    """Whether something goes from tile to tile: constants are where they are needed."""
    return (source != target) & (source != CONSTANT) & (target != CONSTANT)


def _adds_up(step: Moving, tile: Ints, move: Move | None) -> bool:
    """Whether the tiles of its channels exchange exactly what the op's move says."""
    source, target = tile[step.source], tile[step.target]
    apart = travels(source, target)
    counted = _table(source[apart], target[apart], step.elements[apart])
    return counted == (_table(move.source, move.target, move.elements) if move else {})


def _table(source: Ints, target: Ints, elements: Ints) -> dict[tuple[int, int], int]:
    ends, place = np.unique(np.stack([source, target]), axis=1, return_inverse=True)
    total = np.bincount(place.ravel(), elements, ends.shape[1]).astype(np.int64)
    return dict(zip(zip(*ends.tolist(), strict=True), total.tolist(), strict=True))
