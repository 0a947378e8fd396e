"""Calls to outcomes: by the op's own rule, or by those of the ops inside it; and what in-place ops leave behind."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from cannon_fx.passes.home_calls import Call, Outcome, Transfer
from cannon_fx.passes.home_inside import graph_inside
from cannon_fx.passes.home_rules import rule_for
from cannon_fx.passes.home_tensors import CONSTANT, everywhere, filled, lean


def outcome_of(call: Call) -> Outcome | None:
    """What the op's rule says, or those of the ops inside it; None where there are none."""
    if not _has_tensors(call.value):
        return Outcome(call.value)
    rule = rule_for(call.node.target)
    if rule and (outcome := rule(call)):
        return outcome
    if not call.activations:  # an op between constants
        return Outcome(filled(call.value, CONSTANT))
    inside = graph_inside(call.node)
    return _follow(*inside, call) if inside else None


def to_first(call: Call) -> Outcome:
    """The fallback: everything moves to the home of the first element of the first operand that is no constant."""
    home = call.activations[0].home
    first = int(home[home != CONSTANT][0])
    there = [Transfer(node, home, everywhere(first, home.shape)) for node, home in call.activations]
    return Outcome(filled(call.value, first), there)


OWN_PARAMETERS = {
    *("fill", "fill_", "linear", "addmm", "convolution", "conv1d", "conv2d", "conv3d", "layer_norm", "rms_norm"),
    *("native_layer_norm", "group_norm", "native_group_norm", "instance_norm", "batch_norm"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
}
"""Ops whose rules follow their first operand; weights and biases are constants as a rule"""


def unread(call: Call, outcome: Outcome) -> list[Tensor]:
    """Homes of an op's operands that its rule leaves out of account: weights and biases that are computed."""
    if not isinstance(call.node.target, OpOverload) or call.node.target.overloadpacket.__name__ not in OWN_PARAMETERS:
        return []
    followed = {call.nodes[0], *(transfer.operand for transfer in outcome.transfers)}
    return [operand.home for operand in call.activations if operand.node not in followed]


def leave(call: Call, outcome: Outcome, homes: dict[Node, Any]) -> None:
    """Notes the homes of the op's result, and of its first argument and that one's views if the op writes to it."""
    homes[call.node] = outcome.homes
    if not _is_in_place(call.node):
        return
    written = call.nodes[0]
    if torch.Tag.inplace_view in call.node.target.tags:  # type: ignore[union-attr]
        homes[written] = outcome.homes
    elif not torch.equal(lean(homes[written]), lean(outcome.homes)):
        base = written
        while _is_view(base):
            base = base.args[0]
        homes[base] = homes[base].clone(memory_format=torch.contiguous_format)
        shared = {base}
        for node in list(homes):  # in the graph's order
            view = Call(node, homes)
            if _is_view(node) and view.nodes[0] in shared:
                shared.add(node)
                again = None if _is_in_place(node) else outcome_of(view)
                homes[node] = again.homes if again else homes[view.nodes[0]]
        homes[written].copy_(outcome.homes)


def _follow(graph: Graph, operands: list[Any], call: Call) -> Outcome | None:
    """The outcome of a graph inside an op. Values that arise in it count as its first activation's."""
    homes: dict[Node, Any] = {}
    transfers: list[Transfer] = []
    outer: dict[Node, Node] = {}
    remaining = iter(operands)
    result: Any = None
    for node in graph.nodes:
        if node.op == "placeholder":
            operand = next(remaining)
            if isinstance(operand, Node):
                outer[node] = operand
            homes[node] = map_arg(operand, lambda given: call.homes[given])
        elif node.op == "get_attr":
            homes[node] = filled(node.meta.get("val"), CONSTANT)
        elif node.op == "call_function":
            part = Call(node, homes)
            outcome = outcome_of(part)
            if outcome is None:
                return None
            leave(part, outcome, homes)
            transfers += outcome.transfers
        else:
            result = map_arg(node.args[0], lambda inner: homes[inner])
    first = call.activations[0].node
    return Outcome(result, [t._replace(operand=outer.get(t.operand, first)) for t in transfers])


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_has_tensors, value)))


def _is_in_place(node: Node) -> bool:
    """True where the op writes to its first argument."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable and isinstance(node.args[0], Node)


def _is_view(node: Any) -> bool:
    """True where the op's result may lie in the memory of its first argument."""
    if isinstance(node.target, OpOverload):
        return any(result.alias_info for result in node.target._schema.returns)
    return node.target is operator.getitem
