"""Ops with a graph inside: the body of a higher-order op, or PyTorch's own decomposition of a composite one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from cannon_fx.passes.home_rules import rule_for


class Shape(NamedTuple):
    """All that a decomposition may depend on of a tensor."""

    size: tuple[int, ...]
    dtype: torch.dtype


def graph_inside(node: Node) -> tuple[Graph, list[Any]] | None:
    """The graph that `node` stands for, and the node's own operands for its placeholders; None if there is none."""
    if not isinstance(node.target, OpOverload):
        return _body(node)
    leaves, spec = tree_flatten((node.args, node.kwargs))
    leaves = [_number(leaf) for leaf in leaves]
    operands = [leaf for leaf in leaves if isinstance(leaf, Node)]
    if not all(isinstance(operand.meta.get("val"), torch.Tensor) for operand in operands):
        return None
    shapes = [
        Shape(tuple(leaf.meta["val"].shape), leaf.meta["val"].dtype) if isinstance(leaf, Node) else leaf
        for leaf in leaves
    ]
    graph = _decomposition(node.target, spec, tuple(shapes))
    return None if graph is None else (graph, operands)


def _number(leaf: Any) -> Any:
    """The number that a node of the graph computes, such as a size."""
    value = leaf.meta.get("val") if isinstance(leaf, Node) else None
    return value if isinstance(value, (bool, int, float)) else leaf


def _body(node: Node) -> tuple[Graph, list[Any]] | None:
    """The one submodule that a higher-order op (with autocast, without gradients) is called with."""
    owner = node.graph.owning_module
    bodies = [
        (place, getattr(owner, str(argument.target)))
        for place, argument in enumerate(node.args)
        if isinstance(argument, Node) and argument.op == "get_attr"
    ]
    bodies = [(place, body) for place, body in bodies if isinstance(body, GraphModule)]
    if len(bodies) != 1:
        return None
    ((place, body),) = bodies
    return body.graph, list(node.args[place + 1 :])


@lru_cache(maxsize=1024)
def _decomposition(op: OpOverload, spec: TreeSpec, leaves: tuple[Any, ...]) -> Graph | None:
    def call(*tensors: torch.Tensor) -> Any:
        remaining = iter(tensors)
        args, kwargs = tree_unflatten([next(remaining) if isinstance(leaf, Shape) else leaf for leaf in leaves], spec)
        return op(*args, **kwargs)

    table = {part: how for part, how in core_aten_decompositions().items() if rule_for(part) is None}
    try:
        with FakeTensorMode():
            tensors = [torch.empty(leaf.size, dtype=leaf.dtype) for leaf in leaves if isinstance(leaf, Shape)]
            graph = make_fx(call, table)(*tensors).graph
    except Exception:  # a decomposition may raise anything: then the op has none
        return None
    return None if any(part.target == op for part in graph.nodes) else graph
