"""Homes: which tile holds each element of every value, and so what each op has to bring together.

Abstract interpretation over the graph. A home tensor has the shape of its value and holds tile numbers,
PORT for the chip's I/O port, or CONSTANT for parameters, which lie wherever they are used. Uniform
dimensions keep stride 0, so a feature map costs as much as its channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from cannon_fx.hw.placement import PORT
from cannon_fx.layer import Layer
from cannon_fx.passes.home_rules import CONSTANT, RULES, Gathering, Rule, uniform_over
from cannon_fx.passes.partition import MATRIX_OPS
from cannon_fx.plans import LayerInput, Move, Plan


@dataclass(frozen=True)
class Homes:
    """Runs every node of the graph on home tensors, recording layer inputs and moves."""

    def __call__(self, plan: Plan) -> Plan:
        layers = {layer.node: layer for layer in plan.layers}
        user_inputs = set(plan.exported.graph_signature.user_inputs)
        homes: dict[Node, Any] = {}
        inputs: dict[str, LayerInput] = {}
        moves: list[Move] = []
        fallback: set[str] = set()
        for node in plan.exported.graph.nodes:
            if node.op == "placeholder":
                homes[node] = _filled(node.meta.get("val"), PORT if node.name in user_inputs else CONSTANT)
            elif node.op == "get_attr":
                homes[node] = _filled(node.meta.get("val"), CONSTANT)
            elif node.name in layers:
                layer, producer = layers[node.name], node.args[0]
                inputs[layer.name] = layer_input(layer, node, homes[producer])
                homes[node] = _output_homes(layer, node)
            elif node.op == "call_function":
                rule = RULES.get(node.target)
                outcome = _apply(rule, node, homes) if rule else None
                if outcome is None:
                    outcome = _to_first(node, homes)
                    if outcome.gathered and node.target not in MATRIX_OPS:  # those are listed as not mapped
                        fallback.add(str(node.target))
                homes[node] = outcome.homes
                if move := _move(node, outcome.gathered):
                    moves.append(move)
        return replace(plan, inputs=inputs, moves=tuple(moves), fallback_ops=tuple(sorted(fallback)))


def _filled(value: Any, tile: int) -> Any:
    """A home tensor with the shape of `value`, all on `tile`; same structure for lists and tuples of values."""
    if isinstance(value, Tensor):
        return torch.full((1,) * value.dim(), tile, dtype=torch.int32).expand(value.shape)
    if isinstance(value, (list, tuple)):
        return [_filled(item, tile) for item in value]
    return value


def _tensors(node: Node, homes: dict[Node, Any]) -> Iterator[tuple[Node, Tensor]]:
    """The tensor operands of a node and their homes, in argument order."""
    for operand in node.all_input_nodes:
        if isinstance(homes.get(operand), Tensor):
            yield operand, homes[operand]


def _apply(rule: Rule, node: Node, homes: dict[Node, Any]) -> Gathering | None:
    """The rule's outcome, or None where it does not cover this case."""
    args = map_arg(node.args, lambda operand: homes[operand])
    kwargs = map_arg(node.kwargs, lambda operand: homes[operand])
    return rule(node, args, kwargs)


def _to_first(node: Node, homes: dict[Node, Any]) -> Gathering:
    """The fallback: everything moves to the home of the first element of the first operand that is no constant."""
    value = node.meta.get("val")
    operands = [(operand, home) for operand, home in _tensors(node, homes) if bool((home != CONSTANT).any())]
    if value is None or not operands:  # a check without a result, or an op between constants: nothing moves
        return Gathering(_filled(value, CONSTANT))
    first = int(operands[0][1][operands[0][1] != CONSTANT][0])
    return Gathering(_filled(value, first), [(operand, home, _filled(home, first)) for operand, home in operands])


def layer_input(layer: Layer, node: Node, home: Tensor) -> LayerInput:
    """Elements per channel group and home that the layer reads."""
    channels_last = home
    if layer.kind == "conv2d":
        for dimension in (2, 3):
            used = _rows_read(node, home.shape[dimension], layer.weight_shape[dimension], dimension - 2)
            if uniform_over(home, dimension):
                home = home.narrow(dimension, 0, 1).expand(
                    *(len(used) if d == dimension else -1 for d in range(home.dim()))
                )
            else:
                home = home.index_select(dimension, used)
        channels_last = home.movedim(1, -1)
    producer = node.args[0]
    assert isinstance(producer, Node)
    if not channels_last.numel():  # every position reads padding only
        return LayerInput(producer.name, *(np.zeros(0, np.int64) for _ in range(3)))
    multiplicity = 1
    for dimension in range(channels_last.dim() - 1):
        if uniform_over(channels_last, dimension):
            multiplicity *= channels_last.shape[dimension]
            channels_last = channels_last.narrow(dimension, 0, 1)
    tile = channels_last.reshape(-1, layer.in_channels).numpy().astype(np.int64)
    group = np.broadcast_to(np.arange(layer.in_channels) // layer.group_size, tile.shape)
    pairs, elements = np.unique(np.stack([group.ravel(), tile.ravel()]), axis=1, return_counts=True)
    moving = pairs[1] != CONSTANT
    return LayerInput(producer.name, pairs[0][moving], pairs[1][moving], elements[moving] * multiplicity)


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


def _output_homes(layer: Layer, node: Node) -> Tensor:
    shape = node.meta["val"].shape
    channel = torch.as_tensor(layer.home_of_channel, dtype=torch.int32)
    dimension = len(shape) - 1 if layer.kind == "linear" else 1
    return channel.view(*(-1 if d == dimension else 1 for d in range(len(shape)))).expand(shape)


def _move(node: Node, gathered: list[tuple[Node, Tensor, Tensor]]) -> Move | None:
    """One Move from operands' homes and the homes where their elements are needed (see Gathering)."""
    rows: list[np.ndarray[Any, Any]] = []
    for index, (_, home, target) in enumerate(gathered):
        multiplicity = 1
        for dimension in range(target.dim()):
            # Dimensions that are uniform at both ends are counted, not walked.
            if target.shape[dimension] > 1 and uniform_over(target, dimension) and uniform_over(home, dimension):
                multiplicity *= home.shape[dimension]
                home = home.narrow(dimension, 0, 1)
                target = target.narrow(dimension, 0, 1)
        element = torch.arange(home.numel()).view(home.shape).expand(target.shape)
        source = home.expand(target.shape)
        moving = (source != target) & (source != CONSTANT) & (target != CONSTANT)
        once = torch.stack([element[moving], source[moving].long(), target[moving].long()]).unique(dim=1).numpy()
        pairs, counts = np.unique(once[1:], axis=1, return_counts=True)
        rows.append(np.stack([np.full(len(counts), index), *pairs, counts * multiplicity]))
    table = np.concatenate(rows, axis=1).astype(np.int64) if rows else np.zeros((4, 0), np.int64)
    if not table.shape[1]:
        return None
    return Move(node.name, str(node.target), tuple(operand.name for operand, _, _ in gathered), *table)
