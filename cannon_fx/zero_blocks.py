"""Zero blocks in the weights of a graph as they are: which calls a block-sparse kernel would compute faster.

Reads the graphs that torch.compile hands to its backends, where weights are placeholders.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from cannon_fx.kernels.choice import choose
from cannon_fx.kernels.pattern import BlockPattern

ARGUMENTS: dict[object, dict[str, Any]] = {
    F.linear: {"input": None, "weight": None, "bias": None},
    torch.conv2d: {"input": None, "weight": None, "bias": None}
    | {"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
}
"""The calls that are looked at -> their arguments in order, with defaults."""
SIDES = (64, 32, 16)
"""Sides of blocks that are looked for, in channels"""
LARGER = 1.1
"""Larger blocks run faster: the largest is taken that keeps at most so many times what the smallest keeps."""
CHECK_POSITIONS = 32
"""Before every run the zeros are looked at again, which costs what the dense op does at 16 positions (measured on two
cores: 17 million weights in 3 ms); sparsity must save twice that."""


@dataclass(frozen=True)
class Decision:
    """How a linear or convolution call of the graph is computed, and why: dense if there is no `pattern`."""

    node: Node
    layer: str
    why: str
    pattern: BlockPattern | None = None
    zeros: bool = False
    """Whether blocks of its weight are zero, as far as it was looked at."""


def nonzero_blocks(weight: Tensor, out_block: int, group_size: int) -> Tensor:
    """[out, in, *taps] -> bool [J, G]: whether anything in a block is not exactly zero. `group_size` divides `in`."""
    groups = weight.reshape(weight.shape[0], weight.shape[1] // group_size, -1)
    some = (groups.amax(-1) != 0) | (groups.amin(-1) != 0)  # twice as fast as comparing each; a NaN is not zero
    return F.pad(some, (0, 0, 0, -len(some) % out_block)).unflatten(0, (-1, out_block)).any(1)


def arguments(node: Node) -> dict[str, Any]:
    """The call's arguments by name, with defaults."""
    known = ARGUMENTS[node.target]
    return known | dict(zip(known, node.args, strict=False)) | node.kwargs


def layer_name(node: Node) -> str:
    """The module that the call ran in, as the model names it; the node's own name where there is none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return own_path(stack[-1][0]) if stack and own_path(stack[-1][0]) else node.name


def own_path(source: str) -> str:
    """How the model itself calls what Dynamo calls L['self']._modules['head']._parameters['weight']."""
    path = re.sub(r"^L\['\w+'\]|\._(modules|parameters|buffers)\b", "", source)
    return re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", path).strip(".")


def decide(graph: GraphModule, example_inputs: Sequence[Any]) -> list[Decision]:
    """Every linear and conv2d call of `graph`, in order; `example_inputs` belong to its placeholders."""
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    values = dict(zip(placeholders, example_inputs, strict=True))
    everywhere = _obstacle_of_graph(graph, example_inputs)
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in ARGUMENTS:
            weight = arguments(node)["weight"]
            why = everywhere or _obstacle(node, values.get(weight))
            found.append(Decision(node, layer_name(node), f"dense: {why}") if why else _choose(node, values[weight]))
    return found


def _obstacle_of_graph(graph: GraphModule, example_inputs: Sequence[Any]) -> str | None:
    """Why all of the graph stays dense. A weight that is zero has a gradient that is not."""
    switches = [node for node in graph.graph.nodes if node.target is torch._C._set_grad_enabled]
    wanted = any(isinstance(x, Tensor) and x.requires_grad for x in example_inputs)
    if wanted and (torch.is_grad_enabled() or switches):
        return "gradients may be wanted (call under torch.no_grad() for inference)"
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return "autocast"
    if any(node.target is torch.amp.autocast_mode._enter_autocast for node in graph.graph.nodes):
        return "autocast"
    return None


def _obstacle(node: Node, weight: Any) -> str | None:
    """Why the call cannot be sparse."""
    call = arguments(node)
    if type(weight) is not nn.Parameter or weight.device.type not in ("cpu", "cuda"):
        return "its weight is no plain parameter"
    if len(call["weight"].users) > 1:
        return "its weight is used more than once"
    if weight.shape[1] % SIDES[-1]:
        return f"{weight.shape[1]} input channels are no multiple of {SIDES[-1]}"
    if node.target is torch.conv2d:
        if call["input"].meta["example_value"].dim() != 4:
            return "its input has no batch dimension"
        if isinstance(call["padding"], str):
            return f"padding={call['padding']!r}"
    return None


def _choose(node: Node, weight: Tensor) -> Decision:
    name = layer_name(node)
    with torch.no_grad():
        finest = nonzero_blocks(weight, SIDES[-1], SIDES[-1])
    if finest.all():
        return Decision(node, name, f"dense: no block of {SIDES[-1]} x {SIDES[-1]} is zero")
    out_channels, in_channels = weight.shape[:2]
    shapes = [(b, g) for b in SIDES for g in SIDES if in_channels % g == 0]
    patterns = [
        BlockPattern(_coarser(finest, b, g), out_channels, in_channels, b, g)
        for b, g in sorted(shapes, key=lambda sides: -sides[0] * sides[1])
    ]
    pattern = next(p for p in patterns if p.density <= LARGER * patterns[-1].density)
    sizes = [size if isinstance(size, int) else size.node.hint for size in node.meta["example_value"].shape]
    positions = math.prod(sizes) // out_channels
    taps, macs = math.prod(weight.shape[2:]), weight.numel() * positions
    choice = choose(pattern, taps, macs, weight.device, weight.dtype)
    if not choice.sparse:
        return Decision(node, name, choice.why, zeros=True)
    if choice.samples > 1:
        return Decision(node, name, "dense: the layer is small", zeros=True)
    if positions * (1 - pattern.density) < CHECK_POSITIONS:
        why = f"dense: at {positions} positions, looking at the zeros before every run costs what they save"
        return Decision(node, name, why, zeros=True)
    return Decision(node, name, choice.why, pattern, zeros=True)


def _coarser(finest: Tensor, out_block: int, group_size: int) -> Tensor:
    b, g = out_block // SIDES[-1], group_size // SIDES[-1]
    padded = F.pad(finest, (0, 0, 0, -len(finest) % b))
    return padded.unflatten(1, (-1, g)).unflatten(0, (-1, b)).any(3).any(1).cpu()
