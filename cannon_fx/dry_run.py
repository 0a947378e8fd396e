"""A plan's dry run, in words: how much of the model its chip would do, which edges cost most, what to change."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import prod

import torch
from rich.console import Console, Group
from rich.table import Table
from torch.fx import Node

from cannon_fx.cost import Cost
from cannon_fx.passes.matrix_ops import MATRIX_OPS, input_of, weight_of
from cannon_fx.plans import Plan

REMEDIES = {
    "parametrised": "torch.nn.utils.parametrize.remove_parametrizations makes it a plain weight",
    "is also": "untie the two weights (with transformers: tie_word_embeddings=False)",
    "used more than once": "give each use a layer of its own",
    "does not run in eval mode": "only training uses it, so inference does without it",
    "no linear or convolution module of its own": "put the weight into an nn.Linear or nn.Conv2d that runs",
    "outside of any linear or convolution module": "put the weight into an nn.Linear that runs",
    "outside its own module": "call the layer instead of reading its weight",
    "read transposed": "call the layer instead of reading its weight",
    "not exactly nn.Linear": "use the plain class",
    "taps do not fit": "take a chip with more rows in a tile",
    "no batch dimension": "pass the input with its batch dimension",
}
"""Part of a reason why something is not mapped -> what to do about it."""


@dataclass(frozen=True)
class Edge:
    """What moves from one node of the graph to another, or, with one name twice, between a layer's own tiles."""

    source: str
    target: str
    energy_pj: float
    flits: int
    hops: float
    """Mean over the flits"""


def edges(plan: Plan) -> list[Edge]:
    """All edges that cost something, the costliest first; layers by their names, other nodes by the graph's."""
    names = {layer.node: layer.name for layer in plan.layers}
    found = []
    for node in plan.exported.graph.nodes:
        note, name = node.meta.get("custom", {}).get("cannon", {}), names.get(node.name, node.name)
        parts = [(names.get(edge["from"], edge["from"]), edge) for edge in note.get("in", ())]
        parts += [(name, note["partial_sums"])] if "partial_sums" in note else []
        for source, edge in parts:
            if flits := edge["flits"]:
                hops = sum(int(h) * count for h, count in edge["hops"].items()) / flits
                found.append(Edge(source, name, edge["energy_pj"], flits, hops))
    return sorted(found, key=lambda edge: -edge.energy_pj)


def macs_mapped_share(plan: Plan) -> float:
    """The share, of the multiply-accumulates of all linear and convolution ops, that tiles do."""
    mapped = {layer.node for layer in plan.layers}
    macs = {node.name: _macs(node) for node in plan.exported.graph.nodes if node.target in MATRIX_OPS}
    return sum(macs[name] for name in mapped) / sum(macs.values())


def _macs(node: Node) -> int:
    """Every output (of a transposed convolution, every input) meets one row of the weight."""
    shape = weight_of(node).meta["val"].shape
    if "transpose" in MATRIX_OPS[node.target].kind:
        return input_of(node).meta["val"].numel() * prod(shape[1:])
    return node.meta["val"].numel() * (shape[0] if node.target is torch.ops.aten.addmm.default else prod(shape[1:]))


def utilisation(plan: Plan) -> float:
    """The share of the taken tiles' places that hold a weight."""
    return sum(prod(layer.weight_shape) for layer in plan.layers) / (
        plan.tiles * plan.chip.tile_rows * plan.chip.tile_columns
    )


def advice(plan: Plan, cost: Cost) -> list[str]:
    """What would make the plan better, with the figure that says so."""
    found = []
    whole = cost.energy_pj or 1.0
    if (share := cost.of(kind="partial_sum").energy_pj / whole) > 0.5:
        found.append(f"{share:.0%} of the energy is partial sums: larger tiles would split fewer layers by rows")
    if (share := cost.of(kind="move").energy_pj / whole) > 0.5:
        found.append(f"{share:.0%} of the energy is moves between ops that are no layers: see the edges above")
    if (used := utilisation(plan)) < 0.5:
        found.append(f"tiles are {used:.0%} full, as a tile never holds two layers: smaller tiles would be fuller")
    if plan.options.get("order") in ("row-major", "snake", "hilbert"):
        found.append("tiles lie along a curve: --order annealed places them for this network's own traffic")
    if plan.fallback_share > 0.01:
        found.append(f"{plan.fallback_share:.0%} of all bits rest on ops without a rule: read the figures as a guess")
    by_remedy: dict[str, list[str]] = defaultdict(list)
    for unmapped in plan.unmapped:
        for part, remedy in REMEDIES.items():
            if part in unmapped.reason:
                by_remedy[remedy].append(unmapped.name)
    found += [f"{_named(names)}: {remedy}" for remedy, names in by_remedy.items()]
    return found


def dry_run(plan: Plan, cost: Cost, width: int = 110, most: int = 10) -> str:
    """Coverage, the `most` costliest edges, and advice."""
    every = edges(plan)
    table = Table(title=f"the costliest of {len(every)} edges")
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    for column in ("flits", "mean hops", "energy (pJ)", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for edge in every[:most]:
        target = "its own tiles (partial sums)" if edge.source == edge.target else edge.target
        energy, share = f"{edge.energy_pj:,.0f}", f"{edge.energy_pj / (cost.energy_pj or 1.0):.1%}"
        table.add_row(edge.source, target, f"{edge.flits:,}", f"{edge.hops:.1f}", energy, share)
    coverage = (
        f"\nmapped: {len(plan.layers)} layers, {plan.weights_mapped_share:.1%} of the weights, "
        f"{macs_mapped_share(plan):.1%} of the multiply-accumulates of linear and convolution ops; "
        f"tiles are {utilisation(plan):.1%} full; {len(plan.unmapped)} not mapped"
    )
    changes = advice(plan, cost)
    lines = ["what to change:", *(f"* {line}" for line in changes)] if changes else ["nothing to change was found"]
    console = Console(width=width, no_color=True, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(Group(coverage, table, *lines))
    return captured.get()


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
