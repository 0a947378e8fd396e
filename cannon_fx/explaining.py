"""What torch.compile(model, backend="cannon") would run, as text: each call, its layer, sparse or dense and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from cannon_fx.applied import find_applied_plan
from cannon_fx.cost import Cost
from cannon_fx.inputs import arguments_of
from cannon_fx.modules import BlockSparse
from cannon_fx.wrappers import unwrapped
from cannon_fx.zero_blocks import decide, layer_name


def explain(model: nn.Module, example_inputs: Any) -> str:
    """The graphs that a call with `example_inputs` (as for `plan`) compiles to, in the present grad mode.

    Of a network from `apply_cannon`, also what each layer communicates in one inference. Runs the model once.
    """
    args, kwargs = arguments_of(example_inputs)
    model = unwrapped(model)
    applied = find_applied_plan(model)
    cost = applied.cost() if applied else None
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BlockSparse)}
    graphs: list[list[str]] = []

    def record(graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        whys = {decision.node: decision.why for decision in decide(graph, inputs)}
        calls = [node for node in graph.graph.nodes if node.op.startswith("call")]
        lines = []
        for node in calls:
            name = layer_name(node) if node in whys or _sparse(node) else ""
            why = layers[name].choice.why if name in layers else whys.get(node, "")
            lines.append(_line(node, name, why, cost))
        graphs.append(lines)
        return graph.forward

    torch.compile(model, backend=record)(*args, **kwargs)
    texts = [
        f"graph {number} of {len(graphs)}: {len(lines)} calls\n" + "\n".join(lines)
        for number, lines in enumerate(graphs, 1)
    ]
    return "\n\n".join(texts)


def _op(node: Node) -> str:
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


def _sparse(node: Node) -> bool:
    """A block-sparse op, or the function around it that gives its gradient."""
    return "bs_" in _op(node) or _op(node) == "autograd_function_apply"


def _line(node: Node, name: str, why: str, cost: Cost | None) -> str:
    value = node.meta.get("example_value")
    shape = list(value.shape) if isinstance(value, Tensor) else ""
    operands = ", ".join(operand.name for operand in node.all_input_nodes if operand.op != "placeholder")
    text = f"  {node.name} = {_op(node)}({operands}) {shape}".rstrip()
    if name:
        text = f"{text}  # {name}: {why}"
        if cost and (sums := cost.of(name=name)).flits:
            text += f"; {sums.energy_pj:,.0f} pJ, {sums.latency_cycles:,.0f} cycles"
    return text
