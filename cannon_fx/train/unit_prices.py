"""Prices: what ends when a unit is cut, as things are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cannon_fx.channels import Moving, Needed, Pairs, Reading, travels
from cannon_fx.cost import flit_pj
from cannon_fx.counting import Counter, reads, sends
from cannon_fx.layer import Layer
from cannon_fx.plans import Plan
from cannon_fx.train.units import Units

Pricing = Literal["energy", "distance", "equal"]
"""What a method takes a unit to cost: the energy that ends with it, the links that its reads cross, or its reads."""

Floats = NDArray[np.float64]


def unit_prices(units: Units, counter: Counter, pairs: Pairs, pricing: Pricing) -> Floats:
    """Per unit, when only `pairs` are left: in pJ, links, or tiles that read it."""
    if pricing == "energy":
        return _energy_pj(units, counter, pairs)
    reading = {"distance": _links, "equal": _one}[pricing]
    tables = {layer.name: reading(counter.plan, layer) for layer in counter.plan.layers}
    return _of_reads(units, counter, counter.needed_pairs(pairs), tables)


def _of_reads(units: Units, counter: Counter, pairs: Pairs, tables: Mapping[str, Floats]) -> Floats:
    """Sums over the reads that are left; `tables` price those of each layer, [J, C]."""
    total = np.zeros(units.count)
    group_size = {layer.name: layer.group_size for layer in units.plan.layers}
    for layer in counter.plan.layers:
        paid = (tables[layer.name] * reads(layer, counter.of_layer(layer, pairs))).sum(0)
        group = counter.rows[layer.name] // group_size[layer.name]
        np.add.at(total, units.of_group[layer.name][group], paid)
    return total


def _energy_pj(units: Units, counter: Counter, pairs: Pairs) -> Floats:
    """The reads' input transfers, and what making the channels took."""
    needed, left = counter.channels.needed(pairs), counter.needed_pairs(pairs)
    total = _of_reads(units, counter, left, {name: price.input_pj for name, price in counter.prices.items()})
    read = units.of_channel < units.count
    np.add.at(total, units.of_channel[read], _made_pj(counter, left, needed)[read])
    return total


def _made_pj(counter: Counter, left: Pairs, needed: Needed) -> Floats:
    """Per channel, for the layers that read it: its partial sums, and what other ops bring to where it is.

    A channel is made for those layers and for every op that brings it elsewhere, and each takes an equal share; what an
    op brings is then part of what it is brought to. Nothing ends with channels that are always needed (`pinned`).
    """
    plan, channels = counter.plan, counter.channels
    made, read, moved = (np.zeros(len(channels) + 2) for _ in range(3))
    for layer in plan.layers:
        made[channels.first[layer.name] + counter.columns[layer.name]] = sums_pj(counter, layer, left)
    for step in channels.steps:
        if isinstance(step, Reading):
            read[step.source[np.any(left[step.layer.name], axis=0)[step.channel]]] = 1
        else:
            np.add.at(moved, step.source, needed.rows[step.node])
    share = 1 / np.maximum(read + moved, 1)
    for step in channels.steps:
        if isinstance(step, Moving):
            goes = needed.rows[step.node]
            source, target = step.source[goes], step.target[goes]
            np.add.at(made, target, _moved_pj(counter, step)[goes] + (made * share)[source])
    return np.where(channels.pinned, 0.0, made * share * read)


def sums_pj(counter: Counter, layer: Layer, left: Pairs) -> Floats:
    """The partial sums of each output channel that the counter's plan has of a layer."""
    price = counter.prices[layer.name].sum_pj / layer.column_channels[:, None]  # of a channel, [J, I]
    block = np.arange(layer.out_channels) // layer.out_block
    found: Floats = (price[block].T * sends(layer, counter.of_layer(layer, left))).sum(0)
    return found


def _moved_pj(counter: Counter, step: Moving) -> Floats:
    """Of each row; 0 where the op's traffic is not that of its channels."""
    source, target = counter.channels.tile[step.source], counter.channels.tile[step.target]
    if step.node not in counter.channels.moves:
        return np.zeros(len(source))
    flits = step.elements * counter.plan.chip.precision.activation_bits / counter.plan.chip.noc.flit_bits
    return np.where(travels(source, target), flit_pj(counter.plan, source, target) * flits, 0.0)


def _links(plan: Plan, layer: Layer) -> Floats:
    """Links between a channel's homes and each tile that may read it, on average over its elements: [J, C]."""
    network, node, source = plan.placed().network, plan.placed().node, plan.inputs[layer.name]
    target = layer.tile_of[layer.row_block_of[source.group]]  # [k, J]
    total, elements = np.zeros((layer.groups, layer.column_blocks)), np.zeros((layer.groups, 1))
    hops = np.where(source.home[:, None] == target, 0, network.hops(node[source.home][:, None], node[target]))
    np.add.at(total, source.group, hops * source.elements[:, None])
    np.add.at(elements, source.group, source.elements[:, None])
    return (total / np.maximum(elements, 1)).T


def _one(plan: Plan, layer: Layer) -> Floats:
    return np.ones((layer.column_blocks, layer.groups))
