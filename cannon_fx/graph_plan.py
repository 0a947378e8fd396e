"""The plan of a graph that torch.compile hands to its backends, where modules are gone: the layers are made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.source import is_from_unspecialized_nn_module_source
from torch._guards import tracing
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from cannon_fx.capture import capture
from cannon_fx.compile import mapped
from cannon_fx.hw.chip import Chip
from cannon_fx.layer import Layer, weight_key
from cannon_fx.plans import Keep, Plan
from cannon_fx.zero_blocks import ARGUMENTS, arguments, layer_name, nonzero_blocks, own_path


def graph_plan(graph: GraphModule, example_inputs: Sequence[Any], chip: Chip) -> tuple[Plan, Keep]:
    """The plan of one call of `graph`, its whole batch, on `chip`, and which connections are not all zero.

    Layers have the names of `layer_name`. Raises CaptureError, MappingError, ChipError.
    """
    model, inputs = _with_layers(graph, example_inputs)
    with tracing(None):  # apart from the compilation that is under way
        plan = mapped(model, capture(model, inputs, batch_dim=None), chip)
    weights = {layer: model.get_parameter(weight_key(layer.name)) for layer in plan.layers}
    return plan, {layer.name: _nonzero(weight, layer) for layer, weight in weights.items()}


def _with_layers(graph: GraphModule, example_inputs: Sequence[Any]) -> tuple[GraphModule, tuple[Any, ...]]:
    """`graph` as a module that holds its parameters, with nn.Linear and nn.Conv2d for its calls; and its inputs."""
    copy = Graph()
    nodes: dict[Node, Node] = {}
    output = copy.graph_copy(graph.graph, nodes)
    copy.output(output)
    model = GraphModule(graph, copy)
    values = {nodes[node]: value for node, value in zip(_placeholders(graph), example_inputs, strict=True)}
    layers: dict[Node, str] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in ARGUMENTS:
            _make_layer(model, nodes[node], layer_name(node), values, layers)
    inputs = []
    for node in _placeholders(graph):
        own, value = nodes[node], values[nodes[node]]
        if not _is_state(node, value):
            inputs.append(_plain(value))
            continue
        with copy.inserting_before(own):
            for use in list(own.users):
                _use_state(model, use, own, value, _path(node), layers)
        copy.erase_node(own)
    copy.lint()
    model.recompile()
    return model, tuple(inputs)


def _make_layer(model: GraphModule, node: Node, name: str, values: dict[Node, Any], layers: dict[Node, str]) -> None:
    """Calls a layer module instead, the same one for the same weight; not if it multiplies by a computed weight."""
    call = arguments(node)
    weight, bias = values.get(call["weight"]), values.get(call["bias"])
    if type(weight) is not nn.Parameter or (call["bias"] is not None and type(bias) is not nn.Parameter):
        return
    if call["weight"] not in layers:
        layers[call["weight"]] = name = name if name not in layers.values() else node.name
        with torch.device("meta"):  # all but its parameters
            layer = _layer(call, weight, bias is not None)
        layer.weight, layer.bias = weight, bias
        model.add_submodule(name, layer)
    with node.graph.inserting_before(node):
        new = node.graph.call_module(layers[call["weight"]], (call["input"],))
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def _layer(call: dict[str, Any], weight: Tensor, bias: bool) -> nn.Linear | nn.Conv2d:
    if "stride" not in call:
        return nn.Linear(weight.shape[1], weight.shape[0], bias)
    window = {name: call[name] for name in ("stride", "padding", "dilation", "groups")}
    return nn.Conv2d(
        weight.shape[1] * call["groups"], weight.shape[0], (weight.shape[2], weight.shape[3]), **window, bias=bias
    )


def _use_state(model: GraphModule, use: Node, state: Node, value: Tensor, path: str, layers: dict[Node, str]) -> None:
    """Lets `use` read the tensor from the model: a matrix from a linear layer, as attention does its `out_proj`'s."""
    if use.op == "call_method" and use.target == "item":  # a number, which compilers may take for any
        for reader in list(use.users):
            reader.args, reader.kwargs = map_arg(
                (reader.args, reader.kwargs), lambda node: value.item() if node is use else node
            )
        use.graph.erase_node(use)
        return
    owner, _, last = path.rpartition(".")
    if state not in layers and owner and last == "weight" and isinstance(value, nn.Parameter) and value.dim() == 2:
        with torch.device("meta"):
            layer = nn.Linear(value.shape[1], value.shape[0], bias=False)
        layer.weight = value
        model.add_submodule(owner, layer)
        layers[state] = owner
    if state in layers:
        target = f"{layers[state]}.weight"
    else:
        target = state.name
        model.register_buffer(target, value.detach(), persistent=False)
    use.replace_input_with(state, use.graph.get_attr(target))


def _placeholders(graph: GraphModule) -> list[Node]:
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def _is_state(node: Node, value: Any) -> bool:
    """A parameter or buffer of the model, as against an input of the call."""
    if not isinstance(value, Tensor):
        return False
    source = _source(node)
    return isinstance(value, nn.Parameter) or (source is not None and is_from_unspecialized_nn_module_source(source))


def _path(node: Node) -> str:
    """The state's own name in the model."""
    source = _source(node)
    return own_path(source.name) if source else node.name


def _source(node: Node) -> Any:
    """Where Dynamo has a placeholder's value from."""
    return getattr(node, "_dynamo_source", None)


def _plain(value: Any) -> Any:
    """An input of the size it has now, where compilers may take it for any."""
    if isinstance(value, torch.SymInt):
        return value.node.hint
    if not isinstance(value, Tensor):
        return value
    return torch.zeros([_plain(size) for size in value.shape], dtype=value.dtype, device=value.device)


def _nonzero(weight: Tensor, layer: Layer) -> Any:
    """Which connections [J, G] have a weight that is not zero."""
    with torch.no_grad():
        taps_last = weight.reshape(*weight.shape[:2], -1)
        whole_groups = F.pad(taps_last, (0, 0, 0, -weight.shape[1] % layer.group_size))
        return nonzero_blocks(whole_groups, layer.out_block, layer.group_size).cpu().numpy()
