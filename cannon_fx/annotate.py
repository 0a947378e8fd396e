"""Annotate: writes what every edge costs on the graph's consumer nodes, in meta["custom"]["cannon"].

That key survives decomposition, AOTAutograd, and export save and load, as long as it holds JSON values only:
    {"tiles": {"0": [x, y], ...},                               where the node's op runs (layers only)
     "in": [{"from": producer, "bits", "flits", "hops": {"3": flits}, "energy_pj"}, ...],
     "partial_sums": {"bits", "flits", "hops", "energy_pj"},    between the layer's own tiles
     "latency_cycles": of the node's phases, "latency_model"}
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cannon_fx.cost import all_transfers
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.communication import communicate, energy_pj
from cannon_fx.plans import Keep, Plan


def annotate(plan: Plan, keep: Keep) -> None:
    """Annotates the plan's graph with the costs under `keep`."""
    transfers, phases = all_transfers(plan, keep)
    priced = communicate(transfers, len(phases), plan.placed(), plan.chip)
    routes = priced.routes
    energy = routes.flits * energy_pj(plan.chip, routes.routers, routes.pitches, routes.crossings)
    layers = {layer.node: layer for layer in plan.layers}
    moves = {move.node: move for move in plan.moves}
    notes: dict[str, dict[str, Any]] = {}

    def edge(rows: Ints) -> dict[str, Any]:
        hops, flits = routes.hops[rows], routes.flits[rows]
        return {
            "bits": int(transfers.bits[rows].sum()),
            "flits": int(flits.sum()),
            "hops": {str(h): int(flits[hops == h].sum()) for h in np.unique(hops)},
            "energy_pj": float(energy[rows].sum()),
        }

    for number, phase in enumerate(phases):
        note = notes.setdefault(phase.node, {"in": [], "latency_cycles": 0.0, "latency_model": "analytic"})
        rows = np.flatnonzero(transfers.phase == number)
        note["latency_cycles"] += float(priced.latency_cycles[number])
        if phase.kind == "move":
            move = moves[phase.node]
            for index, producer in enumerate(move.producers):
                if (chosen := rows[move.producer == index]).size:
                    note["in"].append({"from": producer, **edge(chosen)})
        elif phase.kind == "input":
            note["in"].append({"from": plan.inputs[phase.name].producer, **edge(rows)})
            x, y = plan.placed().coordinates
            tiles = layers[phase.node].tile_of.ravel()
            note["tiles"] = {str(tile): [int(x[tile]), int(y[tile])] for tile in tiles}
        else:
            note["partial_sums"] = edge(rows)
    for node in plan.exported.graph.nodes:
        if node.name in notes:
            node.meta["custom"] = {**node.meta.get("custom", {}), "cannon": notes[node.name]}
