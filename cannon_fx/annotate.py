"""Annotate: writes what every edge costs on the graph's consumer nodes, in meta["custom"]["cannon"].

That key survives decomposition, AOTAutograd, and export save and load, as long as it holds JSON values only:
    {"tiles": {"0": [x, y], ...},                               where the node's op runs (layers only)
     "in": [{"from": producer, "bits", "flits", "hops": {"3": flits}, "energy_pj"}, ...],
     "partial_sums": {"bits", "flits", "hops", "energy_pj"},    between the layer's own tiles
     "latency_cycles": of the node's phases, "latency_model"}
Where sizes of the inputs are open, all but the latency, which stays that of the example, are formulas in the symbols of
the graph's shapes, as text that sympy reads: "12*s27".
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from cannon_fx.cost import all_transfers
from cannon_fx.formulas import Formulas
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.communication import communicate, energy_pj
from cannon_fx.plans import Keep, Plan


class Amounts(Protocol):
    """Sums over transfers, as JSON values."""

    def bits(self, rows: Ints) -> Any: ...

    def flits(self, rows: Ints) -> Any: ...

    def energy_pj(self, rows: Ints, pj_per_flit: NDArray[np.float64]) -> Any: ...


class Numbers:
    """Sums of numbers, int64 [transfers] each."""

    def __init__(self, bits: Ints, flits: Ints) -> None:
        self._bits, self._flits = bits, flits

    def bits(self, rows: Ints) -> int:
        return int(self._bits[rows].sum())

    def flits(self, rows: Ints) -> int:
        return int(self._flits[rows].sum())

    def energy_pj(self, rows: Ints, pj_per_flit: NDArray[np.float64]) -> float:
        return float((self._flits[rows] * pj_per_flit[rows]).sum())


def annotated(plan: Plan, keep: Keep) -> ExportedProgram:
    """The plan's program, annotated with the costs under `keep`. Raises MappingError where they are no formulas."""
    transfers, phases = all_transfers(plan, keep)
    priced = communicate(transfers, len(phases), plan.placed(), plan.chip)
    routes = priced.routes
    pj_per_flit = energy_pj(plan.chip, routes.routers, routes.pitches, routes.crossings)
    layers = {layer.node: layer for layer in plan.layers}
    moves = {move.node: move for move in plan.moves}
    notes: dict[str, dict[str, Any]] = {}
    amounts: Amounts = Formulas.of(plan, keep) if plan.dynamic else Numbers(transfers.bits, routes.flits)

    def edge(rows: Ints) -> dict[str, Any]:
        hops = routes.hops[rows]
        return {
            "bits": amounts.bits(rows),
            "flits": amounts.flits(rows),
            "hops": {str(h): amounts.flits(rows[hops == h]) for h in np.unique(hops)},
            "energy_pj": amounts.energy_pj(rows, pj_per_flit),
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
    program = plan.dynamic.program if plan.dynamic else plan.exported
    for node in program.graph.nodes:
        if node.name in notes:
            node.meta["custom"] = {**node.meta.get("custom", {}), "cannon": notes[node.name]}
    return program
