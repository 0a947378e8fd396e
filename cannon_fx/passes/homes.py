"""Homes: which tile holds each element of every value, and so what each op has to bring together.

Abstract interpretation over the graph: every value has a home tensor (home_tensors.py), every op a rule
(home_rules.py). An op without a rule is decomposed into ops that have one; where that is not possible
everything moves to the home of its first element, and the plan says what share of the traffic rests on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.placement import PORT
from cannon_fx.layer import Layer
from cannon_fx.passes.home_calls import Call
from cannon_fx.passes.home_moves import move
from cannon_fx.passes.home_outcomes import leave, outcome_of, to_first, unread
from cannon_fx.passes.home_tensors import CONSTANT, compact, filled, lean, uniform
from cannon_fx.passes.matrix_ops import input_of
from cannon_fx.plans import LayerInput, Move, Plan


@dataclass(frozen=True)
class Traced:
    """What a walk over the graph finds: what layers read, and what other ops move.

    `lasting` are homes of elements that are needed whoever reads them: what the network returns, what it writes into
    its inputs and buffers, and operands that a rule leaves out of account.
    """

    inputs: Mapping[str, LayerInput]
    moves: tuple[Move, ...]
    lasting: Ints


@dataclass(frozen=True)
class Homes:
    """Runs every node of the graph on home tensors, recording layer inputs and moves."""

    def __call__(self, plan: Plan) -> Plan:
        found = trace(plan)
        return replace(plan, inputs=found.inputs, moves=found.moves)


def trace(plan: Plan, home_of: Callable[[Layer], Ints] = lambda layer: layer.home_of_channel) -> Traced:
    """Walks the graph; `home_of` gives the home of each of a layer's output channels, int [out_channels]."""
    layers = {layer.node: layer for layer in plan.layers}
    user_inputs = set(plan.exported.graph_signature.user_inputs)
    homes: dict[Node, Any] = {}
    inputs: dict[str, LayerInput] = {}
    moves: list[Move] = []
    lasting: list[Any] = []
    for node in plan.exported.graph.nodes:
        if node.op == "placeholder":
            homes[node] = filled(node.meta.get("val"), PORT if node.name in user_inputs else CONSTANT)
        elif node.op == "get_attr":
            homes[node] = filled(node.meta.get("val"), CONSTANT)
        elif node.name in layers:
            layer, producer = layers[node.name], input_of(node)
            inputs[layer.name] = layer_input(layer, node, homes[producer])
            homes[node] = _output_homes(layer, node, home_of(layer))
        elif node.op == "call_function":
            call = Call(node, homes)
            ruled = outcome_of(call)
            outcome = ruled or to_first(call)
            lasting += unread(call, outcome)
            leave(call, outcome, homes)
            if found := move(node.name, str(node.target), outcome.transfers, by_rule=ruled is not None):
                moves.append(found)
        elif node.op == "output":
            lasting += [homes[value] for value in node.all_input_nodes]
    lasting += [home for node, home in homes.items() if node.op in ("placeholder", "get_attr")]  # written into
    tiles = [lean(home).numpy().ravel() for home in lasting if isinstance(home, Tensor)]
    return Traced(inputs, tuple(moves), np.unique(np.concatenate([np.zeros(0, np.int32), *tiles])).astype(np.int64))


def layer_input(layer: Layer, node: Node, home: Tensor) -> LayerInput:
    """Elements per channel group and home that the layer reads."""
    for dimension, taps in enumerate(layer.weight_shape[2:], 2):
        used = _rows_read(node, home.shape[dimension], taps, dimension - 2)
        home = home.narrow(dimension, 0, 1) if uniform(home, dimension) else home.index_select(dimension, used)
        home = home.expand(*(len(used) if d == dimension else -1 for d in range(home.dim())))
    channels_last = compact(home if layer.kind == "linear" else home.movedim(1, -1))
    producer = input_of(node)
    if not channels_last.numel():  # every position reads padding only
        return LayerInput(producer.name, *(np.zeros(0, np.int64) for _ in range(3)))
    multiplicity = 1
    for dimension in range(channels_last.dim() - 1):
        if uniform(channels_last, dimension):
            multiplicity *= channels_last.shape[dimension]
            channels_last = channels_last.narrow(dimension, 0, 1)
    tile = channels_last.reshape(-1, layer.in_channels).numpy().astype(np.int64)
    group = np.broadcast_to(np.arange(layer.in_channels) // layer.group_size, tile.shape)
    tiles = int(tile.max()) - CONSTANT + 1
    pairs, elements = np.unique(group * tiles + tile - CONSTANT, return_counts=True)
    groups, homes = np.divmod(pairs, tiles)
    homes += CONSTANT
    moving = homes != CONSTANT
    return LayerInput(producer.name, groups[moving], homes[moving], elements[moving] * multiplicity)


def _rows_read(node: Node, size: int, taps: int, axis: int) -> Tensor:
    """Which of the `size` rows (or columns) of the input some output position reads."""

    def option(name: str, place: int, default: int) -> Any:
        return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)

    def of_axis(value: Any) -> int:
        """One number may stand for both axes."""
        return int(value[axis if len(value) > 1 else 0]) if isinstance(value, (list, tuple)) else int(value)

    stride, padding, dilation = option("stride", 3, 1), option("padding", 4, 0), option("dilation", 5, 1)
    stride, dilation = of_axis(stride), of_axis(dilation)
    if padding == "same":  # an odd row of padding goes behind, so the first output reads from -(total // 2)
        before = dilation * (taps - 1) // 2
    else:
        before = 0 if padding == "valid" else of_axis(padding)
    outputs = torch.arange(node.meta["val"].shape[2 + axis])[:, None] * stride - before
    read = (outputs + torch.arange(taps) * dilation).unique()
    return read[(read >= 0) & (read < size)]


def _output_homes(layer: Layer, node: Node, home_of_channel: Ints) -> Tensor:
    shape = node.meta["val"].shape
    channel = torch.as_tensor(home_of_channel, dtype=torch.int32)
    dimension = len(shape) - 1 if layer.kind == "linear" else 1
    return channel.view(*(-1 if d == dimension else 1 for d in range(len(shape)))).expand(shape)
