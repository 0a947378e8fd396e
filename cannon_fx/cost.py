"""What a plan costs for given masks: its transfers, phase by phase, priced by the hardware model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.communication import Communication, LatencyModel, communicate, energy_pj
from cannon_fx.hw.transfers import Transfers
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
class Totals:
    """Communication cost over some phases. Dynamic energy is `energy_pj`; static energy stands apart."""

    communication: Communication

    @property
    def energy_pj(self) -> float:
        """Dynamic energy of routers and links."""
        return float(self.communication.energy_pj.sum())

    @property
    def static_energy_pj(self) -> float:
        """Clock and leakage of the whole network over the latency."""
        return float(self.communication.static_energy_pj.sum())

    @property
    def latency_cycles(self) -> float:
        """One phase after another, in cycles of the network's clock, by `latency_model`."""
        return float(self.communication.latency_cycles.sum())

    @property
    def edp_pj_cycles(self) -> float:
        """Energy-delay product: dynamic communication energy x communication latency."""
        return self.energy_pj * self.latency_cycles


@dataclass(frozen=True, eq=False)
class Cost(Totals):
    """Communication cost of one inference, phase by phase."""

    phases: tuple[Phase, ...]
    keep: Keep
    density: float
    """Kept weights / weights, over the mapped layers."""

    @property
    def latency_model(self) -> LatencyModel:
        """Whether the latency is computed or simulated."""
        return self.communication.latency_model

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


def input_transfers(plan: Plan, layer: Layer, keep: NDArray[np.bool_], phase: int) -> Transfers:
    """What a layer's tiles need from others; `keep` is bool [J, G]."""
    source, bits = plan.inputs[layer.name], plan.chip.precision.activation_bits
    homes, home = np.unique(source.home, return_inverse=True)
    elements = np.zeros((layer.groups, len(homes)), np.int64)
    elements[source.group, home] = source.elements
    if not plan.chip.noc.multicast:
        # [J, I, home]: elements that tile (i, j) takes from each home.
        needed = np.add.reduceat(keep[:, :, None] * elements, layer.first_groups, axis=1)
        j, i, h = np.nonzero(needed * (layer.tile_of.T[:, :, None] != homes))
        return Transfers.unicast(phase, homes[h], layer.tile_of[i, j], needed[j, i, h] * bits)
    # Groups of a row block that the same column blocks need travel together: one tree per such set and home.
    sets, chosen = np.unique(np.vstack([layer.row_block_of, keep]), axis=1, return_inverse=True)
    together = np.zeros((sets.shape[1], len(homes)), np.int64)
    np.add.at(together, chosen.ravel(), elements)
    tile = layer.tile_of[sets[0]]  # [set, J]
    s, j, h = np.nonzero(sets[1:].T[:, :, None] * together[:, None, :] * (tile[:, :, None] != homes))
    trees = s * len(homes) + h
    return Transfers(np.full(len(s), phase), homes[h], tile[s, j], together[s, h] * bits, trees)


def partial_sums(plan: Plan, layer: Layer, keep: NDArray[np.bool_], phase: int) -> Transfers:
    """What a layer's tiles with a kept connection send to the accumulating ones; `keep` is bool [J, G]."""
    used = np.add.reduceat(keep, layer.first_groups, axis=1)
    j, i = np.nonzero(used * (layer.tile_of.T != layer.accumulator[:, None]))
    bits = layer.column_channels[j] * layer.positions * plan.chip.precision.partial_sum_bits
    return Transfers.unicast(phase, layer.tile_of[i, j], layer.accumulator[j], bits)


def move_transfers(plan: Plan, move: Move, phase: int) -> Transfers:
    """The transfers of an op that is no layer."""
    return Transfers.unicast(phase, move.source, move.target, move.elements * plan.chip.precision.activation_bits)


def all_transfers(plan: Plan, keep: Keep) -> tuple[Transfers, tuple[Phase, ...]]:
    """Every transfer of one inference under masks `keep`, and the phases they number."""
    phases = phases_of(plan)
    number = {(phase.kind, phase.node): k for k, phase in enumerate(phases)}
    parts: list[Transfers] = []
    for layer in plan.layers:
        parts.append(input_transfers(plan, layer, keep[layer.name], number["input", layer.node]))
        parts.append(partial_sums(plan, layer, keep[layer.name], number["partial_sum", layer.node]))
    parts += [move_transfers(plan, move, number["move", move.node]) for move in plan.moves]
    return Transfers.concatenate(parts), phases


def cost(plan: Plan, keep: Keep, latency_model: LatencyModel = "analytic") -> Cost:
    """The communication cost of one inference when only the connections in `keep` are left."""
    transfers, phases = all_transfers(plan, keep)
    weights = sum(int(np.prod(layer.weight_shape)) for layer in plan.layers)
    kept = sum(int((keep[layer.name] * layer.weights_of_connection).sum()) for layer in plan.layers)
    return Cost(
        phases=phases,
        communication=communicate(transfers, len(phases), plan.placed(), plan.chip, latency_model),
        keep=keep,
        density=kept / weights if weights else 1.0,
    )


def layer_cost(plan: Plan, layer: Layer, keep: NDArray[np.bool_]) -> Totals:
    """The cost of one layer; a network's is the sum over its layers and moves."""
    transfers = Transfers.concatenate([input_transfers(plan, layer, keep, 0), partial_sums(plan, layer, keep, 1)])
    return Totals(communicate(transfers, 2, plan.placed(), plan.chip))


@dataclass(frozen=True)
class Prices:
    """Energy of one layer's connections.

    `input_pj` [J, G]: to bring the group's elements to the tile. `sum_pj` [J, I]: to send the tile's partial
    sums, paid once if any connection on the tile is kept. Flits count as fractions here: a transfer's last,
    partly filled flit belongs to no single connection.
    """

    input_pj: NDArray[np.float64]
    sum_pj: NDArray[np.float64]


def flit_pj(plan: Plan, source: Ints, target: Ints) -> NDArray[np.float64]:
    """Energy of one flit from tile to tile, pJ, at the plan's placement; the arguments broadcast."""
    network, node = plan.placed().network, plan.placed().node
    ends = node[source], node[target]
    return energy_pj(plan.chip, network.hops(*ends) + 1, network.pitches(*ends), network.crossings(*ends))


def prices(plan: Plan, layer: Layer) -> Prices:
    """What the layer's connections cost at the plan's placement, each with a way of its own (unicast)."""
    precision, flit_bits = plan.chip.precision, plan.chip.noc.flit_bits
    source = plan.inputs[layer.name]
    home, target = source.home[:, None], layer.tile_of[layer.row_block_of[source.group]]  # [k, 1], [k, J]
    one_flit = np.where(home == target, 0.0, flit_pj(plan, home, target))
    input_pj = np.zeros((layer.groups, layer.column_blocks))
    np.add.at(input_pj, source.group, one_flit * (source.elements * precision.activation_bits / flit_bits)[:, None])
    flits = layer.column_channels * layer.positions * precision.partial_sum_bits / flit_bits
    away = layer.tile_of != layer.accumulator
    sum_pj = np.where(away, flit_pj(plan, layer.tile_of, layer.accumulator) * flits, 0.0)  # [I, J]
    return Prices(input_pj.T, sum_pj.T)
