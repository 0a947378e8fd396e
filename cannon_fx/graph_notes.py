"""Notes on a graph of torch.compile: how each layer is computed and why, and what it communicates.

In node.meta["custom"]["cannon"]: {"layer", "sparse", "why"}, and where the cost is known "energy_pj", "latency_cycles".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.fx import GraphModule, Node

from cannon_fx.cost import Cost
from cannon_fx.modules import BlockSparse
from cannon_fx.zero_blocks import Decision, layer_name


def note_layers(
    graph: GraphModule, decisions: Sequence[Decision], modules: Mapping[str, BlockSparse], cost: Cost | None
) -> list[dict[str, Any]]:
    """Notes on the calls that were decided on, and on those of block-sparse `modules`; returns them in order."""
    decided = {decision.node: decision for decision in decisions}
    notes = []
    for node in graph.graph.nodes:
        name = layer_name(node)
        if not (node in decided or (is_sparse(node) and name in modules)):
            continue
        if name in modules:
            note: dict[str, Any] = {"layer": name, "sparse": is_sparse(node), "why": modules[name].choice.why}
        else:
            note = {"layer": name, "sparse": decided[node].pattern is not None, "why": decided[node].why}
        if cost and (sums := cost.of(name=name)).flits:
            note |= {"energy_pj": sums.energy_pj, "latency_cycles": sums.latency_cycles}
        node.meta["custom"] = {**node.meta.get("custom", {}), "cannon": note}
        notes.append(note)
    return notes


def in_words(note: Mapping[str, Any]) -> str:
    """A note on one line."""
    cost = f"; {note['energy_pj']:,.0f} pJ, {note['latency_cycles']:,.0f} cycles" if "energy_pj" in note else ""
    return f"{note['layer']}: {note['why']}{cost}"


def op_name(node: Node) -> str:
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


def is_sparse(node: Node) -> bool:
    """A block-sparse op, or the function around it that gives its gradient."""
    return "bs_" in op_name(node) or op_name(node) == "autograd_function_apply"
