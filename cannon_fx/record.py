"""The record of a run: what report.json holds, built from plans and costs. Plain values only."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cannon_fx.compute import compute_total
from cannon_fx.cost import Cost, PhaseKind
from cannon_fx.counting import Counter
from cannon_fx.efficiency import efficiencies, total
from cannon_fx.hw.placement import PORT
from cannon_fx.layer import Layer
from cannon_fx.link_transfers import link_transfers
from cannon_fx.plans import Keep, Plan

KINDS: tuple[PhaseKind, ...] = ("input", "partial_sum", "move")


def trained_record(counter: Counter, network: nn.Module, dense: Plan) -> dict[str, Any]:
    """What a trained network costs by its weights, as `counter` maps it.

    Its density is against the weights of `dense`, of which whole filters may be gone.
    """
    smaller, larger = (sum(int(np.prod(layer.weight_shape)) for layer in p.layers) for p in (counter.whole, dense))
    counted = counter.count(network)
    multicast = counter.plan.chip.noc.multicast
    simulated = None if multicast else counter.count(network, "simulated").latency_cycles
    counted = replace(counted, density=counted.density * smaller / larger)
    return method_record(counter.plan, counted, simulated, counter.masks(network))


def method_record(
    plan: Plan, cost: Cost, simulated_latency_cycles: float | None, masks: Keep | None = None
) -> dict[str, Any]:
    """One method's costs: in all, per layer, per move and per link.

    `masks` are of the layers as they were before they were mapped anew; without it, those of `cost`.
    """
    return {
        "energy_pj": cost.energy_pj,
        "static_energy_pj": cost.static_energy_pj,
        "latency_cycles": cost.latency_cycles,
        "simulated_latency_cycles": simulated_latency_cycles,
        "edp_pj_cycles": cost.edp_pj_cycles,
        "density": cost.density,
        "latency_model": cost.latency_model,
        "energy_shares_pj": {kind: cost.of(kind=kind).energy_pj for kind in KINDS},
        "compute": compute_total(plan, cost.keep),
        "efficiency": efficiency_record(plan, cost),
        "layers": [_layer(plan, cost, layer, (masks or cost.keep)[layer.name]) for layer in plan.layers],
        "moves": [{"name": m.node, "op": m.op, **vars(cost.of(node=m.node))} for m in plan.moves],
        "phases": [[phase.kind, phase.name] for phase in cost.phases],
        "floor_plan": floor_plan_record(plan),
        "links": _links(plan, cost),
        "transfers": transfer_table(plan, cost),
    }


def efficiency_record(plan: Plan, cost: Cost) -> dict[str, Any] | None:
    """Operations, energy and TOPS/W per layer and in all; None for a chip without [compute]."""
    parts = efficiencies(plan, cost)
    return {"parts": [part.plain() for part in parts], "total": total(parts).plain()} if parts else None


def transfer_table(plan: Plan, cost: Cost) -> list[list[Any]]:
    """One row per transfer: phase, x and y of the routers it goes from and to, flits."""
    transfers, placement = cost.communication.transfers, plan.placed()
    router = placement.network.routing.node_router[placement.node]
    ends = [placement.network.place[router[tiles]].astype(int) for tiles in (transfers.source, transfers.target)]
    flits = transfers.flits(plan.chip.noc.flit_bits)
    return np.column_stack([transfers.phase, *ends, flits]).tolist()


def _layer(plan: Plan, cost: Cost, layer: Layer, mask: NDArray[np.bool_]) -> dict[str, Any]:
    keep = cost.keep[layer.name]
    weights = layer.weights_of_connection
    cells = plan.chip.tile_rows * plan.chip.tile_columns
    used = np.add.reduceat(weights * keep, layer.first_groups, axis=1).T / cells
    return {
        "name": layer.name,
        "kind": layer.kind,
        "weight_shape": list(layer.weight_shape),
        "row_blocks": layer.row_blocks,
        "column_blocks": layer.column_blocks,
        "utilisation": float(weights.sum() / (layer.tiles * cells)),
        "connections": int(mask.size),
        "kept": int(mask.sum()),
        "keep": np.packbits(mask).tobytes().hex(),
        "mask_rows": len(mask),
        "tile_utilisation": used.round(4).tolist(),  # [I, J], by the weights that are kept
        "density": float((weights * keep).sum() / weights.sum()),
        **vars(cost.of(node=layer.node)),
    }


def _links(plan: Plan, cost: Cost) -> list[dict[str, Any]]:
    """Every link with traffic: its ends, its flits, and the largest transfers as [phase, source, target, flits]."""
    network, loads = plan.placed().network, cost.communication.routes.link_flits
    passing = link_transfers(plan, cost)
    return [
        {
            "from": network.place[router].tolist(),
            "to": network.place[network.neighbour[router, port]].tolist(),
            "flits": int(loads[router, port]),
            "transfers": passing[int(router), int(port)][0],
            "largest": passing[int(router), int(port)][1],
        }
        for router, port in np.argwhere(loads)
    ]


def plan_record(plan: Plan) -> dict[str, Any]:
    """What all methods share: the chip, and what is not mapped."""
    return {
        "chip": plan.chip.dump(),
        "noc_energy": asdict(plan.chip.noc_energy),
        "floor_plan": floor_plan_record(plan),
        "unmapped": [{"name": u.name, "reason": u.reason} for u in plan.unmapped],
        "fallback_ops": list(plan.fallback_ops),
    }


def floor_plan_record(plan: Plan) -> dict[str, Any]:
    """The grid, its links, and what stands where."""
    placement = plan.placed()
    network, (x, y) = placement.network, placement.coordinates
    ends = np.argwhere(network.neighbour >= 0)
    links = [network.place[ends[:, 0]], network.place[network.neighbour[tuple(ends.T)]]]
    return {
        "columns": placement.grid.columns,
        "rows": placement.grid.rows,
        "port": network.place[network.routing.node_router[placement.node[PORT]]].tolist(),
        "links": np.hstack(links).tolist(),  # x and y of both ends, with traffic or without
        "tiles": [
            {
                "tile": int(layer.tile_of[i, j]),
                "x": int(x[layer.tile_of[i, j]]),
                "y": int(y[layer.tile_of[i, j]]),
                "layer": layer.name,
                "row_block": i,
                "column_block": j,
            }
            for layer in plan.layers
            for j in range(layer.column_blocks)
            for i in range(layer.row_blocks)
        ],
    }
