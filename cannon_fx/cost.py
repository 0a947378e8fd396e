"""What a plan costs for given masks: its transfers, phase by phase, priced by the hardware model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cannon_fx.hw.communication import (
    LATENCY_MODEL,
    Communication,
    Transfers,
    communicate,
    flits_for,
    transfer_energy_pj,
    zero_load_cycles,
)
from cannon_fx.layer import Layer
from cannon_fx.plans import Keep, Move, Plan

PhaseKind = Literal["input", "partial_sum", "move"]


@dataclass(frozen=True)
class Phase:
    """One step of the schedule: a layer's input transfers, its partial sums, or another op's moves."""

    kind: PhaseKind
    node: str
    name: str


@dataclass(frozen=True)
class Sums:
    """Totals over some of the phases."""

    flits: int
    energy_pj: float
    latency_cycles: float


@dataclass(frozen=True, eq=False)
class Cost:
    """Communication cost of one inference. Dynamic energy is `energy_pj`; static energy stands apart."""

    phases: tuple[Phase, ...]
    communication: Communication
    keep: Keep
    density: float
    """Kept weights / weights, over the mapped layers."""

    latency_model = LATENCY_MODEL

    @property
    def energy_pj(self) -> float:
        return float(self.communication.energy_pj.sum())

    @property
    def static_energy_pj(self) -> float:
        return float(self.communication.static_energy_pj.sum())

    @property
    def latency_cycles(self) -> float:
        return float(self.communication.latency_cycles.sum())

    @property
    def edp_pj_cycles(self) -> float:
        """Energy-delay product: dynamic communication energy x communication latency."""
        return self.energy_pj * self.latency_cycles

    def of(self, **match: str) -> Sums:
        """Sums over the phases whose fields equal `match`: of(kind="input"), of(node=layer.node)."""
        chosen = [k for k, phase in enumerate(self.phases) if all(getattr(phase, f) == v for f, v in match.items())]
        c = self.communication
        return Sums(int(c.flits[chosen].sum()), float(c.energy_pj[chosen].sum()), float(c.latency_cycles[chosen].sum()))


def phases_of(plan: Plan) -> tuple[Phase, ...]:
    """The schedule, in graph order."""
    layers = {layer.node: layer for layer in plan.layers}
    moves = {move.node for move in plan.moves}
    phases: list[Phase] = []
    for node in plan.exported.graph.nodes:
        if layer := layers.get(node.name):
            phases += [Phase("input", node.name, layer.name), Phase("partial_sum", node.name, layer.name)]
        elif node.name in moves:
            phases.append(Phase("move", node.name, node.name))
    return tuple(phases)


def layer_transfers(
    plan: Plan, layer: Layer, keep: NDArray[np.bool_], input_phase: int, sum_phase: int
) -> list[Transfers]:
    """Input transfers and partial sums of one layer; `keep` is bool [J, G]."""
    precision, source = plan.chip.precision, plan.inputs[layer.name]
    homes, home = np.unique(source.home, return_inverse=True)
    elements = np.zeros((layer.groups, len(homes)), np.int64)
    elements[source.group, home] = source.elements
    # [J, I, home]: elements that tile (i, j) takes from each home.
    needed = np.add.reduceat(keep[:, :, None] * elements, layer.first_groups, axis=1)
    j, i, h = np.nonzero(needed * (layer.tile_of.T[:, :, None] != homes))
    inputs = Transfers(
        np.full(len(j), input_phase), homes[h], layer.tile_of[i, j], needed[j, i, h] * precision.activation_bits
    )
    used = np.add.reduceat(keep, layer.first_groups, axis=1)
    j, i = np.nonzero(used * (layer.tile_of.T != layer.accumulator[:, None]))
    bits = layer.column_channels[j] * layer.positions * precision.partial_sum_bits
    sums = Transfers(np.full(len(j), sum_phase), layer.tile_of[i, j], layer.accumulator[j], bits)
    return [inputs, sums]


def move_transfers(plan: Plan, move: Move, phase: int) -> Transfers:
    """The transfers of an op that is no layer."""
    return Transfers(
        np.full(len(move.source), phase), move.source, move.target, move.elements * plan.chip.precision.activation_bits
    )


def all_transfers(plan: Plan, keep: Keep) -> tuple[Transfers, tuple[Phase, ...]]:
    """Every transfer of one inference under masks `keep`, and the phases they number."""
    phases = phases_of(plan)
    number = {(phase.kind, phase.node): k for k, phase in enumerate(phases)}
    parts: list[Transfers] = []
    for layer in plan.layers:
        parts += layer_transfers(
            plan, layer, keep[layer.name], number["input", layer.node], number["partial_sum", layer.node]
        )
    parts += [move_transfers(plan, move, number["move", move.node]) for move in plan.moves]
    return Transfers.concatenate(parts), phases


def cost(plan: Plan, keep: Keep) -> Cost:
    """The communication cost of one inference when only the connections in `keep` are left."""
    transfers, phases = all_transfers(plan, keep)
    weights = sum(int(np.prod(layer.weight_shape)) for layer in plan.layers)
    kept = sum(int((keep[layer.name] * layer.weights_of_connection).sum()) for layer in plan.layers)
    return Cost(
        phases=phases,
        communication=communicate(transfers, len(phases), plan.placed(), plan.chip),
        keep=keep,
        density=kept / weights,
    )


def layer_cost(plan: Plan, layer: Layer, keep: NDArray[np.bool_]) -> tuple[float, float]:
    """(energy_pj, latency_cycles) of one layer; a network's are the sums over its layers and moves."""
    transfers = Transfers.concatenate(layer_transfers(plan, layer, keep, 0, 1))
    priced = communicate(transfers, 2, plan.placed(), plan.chip)
    return float(priced.energy_pj.sum()), float(priced.latency_cycles.sum())


@dataclass(frozen=True)
class Prices:
    """Marginal energy of one layer's connections.

    `input_pj` [J, G]: to bring the group's elements to the tile. `sum_pj` [J, I]: to send the tile's partial
    sums, paid once if any connection on the tile is kept. Flits count as fractions here: a transfer's last,
    partly filled flit belongs to no single connection.
    """

    input_pj: NDArray[np.float64]
    sum_pj: NDArray[np.float64]

    def per_connection(self, layer: Layer, keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[J, G]: the input price, plus the tile's partial-sum price shared among its kept connections."""
        sharing = np.maximum(np.add.reduceat(keep, layer.first_groups, axis=1, dtype=np.int64), 1)
        return self.input_pj + (self.sum_pj / sharing)[:, layer.row_block_of]


def prices(plan: Plan, layer: Layer) -> Prices:
    """What the layer's connections cost at the plan's placement."""
    chip, router, mesh = plan.chip, plan.placed().router, plan.placed().mesh
    source = plan.inputs[layer.name]
    target = layer.tile_of[layer.row_block_of[source.group]]  # [k, J]
    one_flit = transfer_energy_pj(np.ones_like(target), mesh.hops(router[source.home][:, None], router[target]), chip)
    bits = source.elements * chip.precision.activation_bits
    input_pj = np.zeros((layer.groups, layer.column_blocks))
    np.add.at(input_pj, source.group, one_flit * (bits / chip.noc.flit_bits)[:, None])
    hops = mesh.hops(router[layer.tile_of], router[layer.accumulator])  # [I, J]
    flits = layer.column_channels * layer.positions * chip.precision.partial_sum_bits / chip.noc.flit_bits
    sum_pj = np.where(
        layer.tile_of == layer.accumulator, 0.0, transfer_energy_pj(np.ones_like(hops), hops, chip) * flits
    )
    return Prices(input_pj.T, sum_pj.T)


def single_costs(plan: Plan, layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(energy_pj, latency_cycles) of the layer with one connection alone, float [J, G] each; exact, in whole flits.

    With one tile at work, that tile takes in every flit of the input phase, so it is the busiest sink.
    """
    chip, router, mesh = plan.chip, plan.placed().router, plan.placed().mesh
    source = plan.inputs[layer.name]
    energy, flits, farthest = (np.zeros((layer.groups, layer.column_blocks), t) for t in (float, np.int64, np.int64))
    target = layer.tile_of[layer.row_block_of[source.group]]  # [k, J]
    hops = mesh.hops(router[source.home][:, None], router[target])
    sent = np.broadcast_to(flits_for(source.elements * chip.precision.activation_bits, chip)[:, None], hops.shape)
    np.add.at(energy, source.group, transfer_energy_pj(sent, hops, chip))
    np.add.at(flits, source.group, sent)
    np.maximum.at(farthest, source.group, hops)
    latency = np.where(flits > 0, flits / chip.flits_per_cycle + zero_load_cycles(farthest, chip), 0.0)

    hops = mesh.hops(router[layer.tile_of], router[layer.accumulator])  # [I, J]
    bits = layer.column_channels * layer.positions * chip.precision.partial_sum_bits
    sent = np.broadcast_to(flits_for(bits, chip), hops.shape)
    away = layer.tile_of != layer.accumulator
    sum_energy = np.where(away, transfer_energy_pj(sent, hops, chip), 0.0)
    sum_latency = np.where(away, sent / chip.flits_per_cycle + zero_load_cycles(hops, chip), 0.0)
    return (energy + sum_energy[layer.row_block_of]).T, (latency + sum_latency[layer.row_block_of]).T
