"""What torch.compile(model, backend="cannon") would run, as text: each call, its layer, sparse or dense and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from cannon_fx.applied import find_applied_plan
from cannon_fx.graph_notes import in_words, note_layers, op_name
from cannon_fx.inputs import arguments_of
from cannon_fx.wrappers import unwrapped
from cannon_fx.zero_blocks import decide


def explain(model: nn.Module, example_inputs: Any) -> str:
    """The graphs that a call with `example_inputs` (as for `plan`) compiles to, in the present grad mode.

    Of a network from `apply_cannon`, also what each layer communicates in one inference. Runs the model once.
    """
    args, kwargs = arguments_of(example_inputs)
    model = unwrapped(model)
    applied = find_applied_plan(model)
    cost = applied.cost() if applied else None
    graphs: list[list[str]] = []

    def record(graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        note_layers(graph, decide(graph, inputs), applied.modules if applied else {}, cost)
        graphs.append([_line(node) for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward

    torch.compile(model, backend=record)(*args, **kwargs)
    texts = [
        f"graph {number} of {len(graphs)}: {len(lines)} calls\n" + "\n".join(lines)
        for number, lines in enumerate(graphs, 1)
    ]
    return "\n\n".join(texts)


def _line(node: Node) -> str:
    value = node.meta.get("example_value")
    shape = list(value.shape) if isinstance(value, Tensor) else ""
    operands = ", ".join(operand.name for operand in node.all_input_nodes if operand.op != "placeholder")
    text = f"  {node.name} = {op_name(node)}({operands}) {shape}".rstrip()
    note = node.meta.get("custom", {}).get("cannon")
    return f"{text}  # {in_words(note)}" if note else text
