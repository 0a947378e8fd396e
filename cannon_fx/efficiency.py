"""Operations for energy and time, layer by layer: the TOPS/W of crossbars, ADCs and communication together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from cannon_fx.compute import compute_costs
from cannon_fx.cost import Cost
from cannon_fx.plans import Plan


@dataclass(frozen=True)
class Efficiency:
    """What a part of a network does in one inference, and what that costs.

    `operations`: a product and a sum for each output position and each weight of a kept connection, as much as the
    crossbars compute. `crossbar_pj` with the input drivers; `digital_pj`: shift-and-add and accumulation.
    `communication_pj` is dynamic. `latency_ns`: communication (by the model of the cost) and computing one after the
    other. Leakage, buffers and activation functions are not counted.
    """

    name: str
    operations: int
    crossbar_pj: float
    adc_pj: float
    digital_pj: float
    communication_pj: float
    latency_ns: float

    @property
    def total_pj(self) -> float:
        """Computing and communication."""
        return self.crossbar_pj + self.adc_pj + self.digital_pj + self.communication_pj

    @property
    def tops_per_watt(self) -> float:
        """Operations per pJ, which is 10^12 operations per second for each watt."""
        return self.operations / self.total_pj if self.total_pj else 0.0

    @property
    def tops(self) -> float:
        """10^12 operations per second, of one inference at a time."""
        return self.operations / self.latency_ns / 1000 if self.latency_ns else 0.0

    @property
    def communication_share(self) -> float:
        """Of the total energy."""
        return self.communication_pj / self.total_pj if self.total_pj else 0.0

    def plain(self) -> dict[str, Any]:
        """Plain values, those that follow from the others too."""
        derived = ("total_pj", "tops_per_watt", "tops", "communication_share")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def efficiencies(plan: Plan, cost: Cost) -> list[Efficiency]:
    """One per layer, then one of all moves if there are any; empty for a chip without [compute]."""
    computing, clock_ghz = compute_costs(plan, cost.keep), plan.chip.noc.clock_ghz
    if not computing:
        return []
    found = []
    for layer in plan.layers:
        own, sent = computing[layer.name], cost.of(node=layer.node)
        kept = int((cost.keep[layer.name] * layer.weights_of_connection).sum())
        found.append(
            Efficiency(
                name=layer.name,
                operations=2 * kept * layer.positions,
                crossbar_pj=own.crossbar_pj + own.driver_pj,
                adc_pj=own.adc_pj,
                digital_pj=own.shift_add_pj + own.accumulate_pj,
                communication_pj=sent.energy_pj,
                latency_ns=(own.latency_cycles + sent.latency_cycles) / clock_ghz,
            )
        )
    if plan.moves:
        moves = cost.of(kind="move")
        found.append(Efficiency("moves", 0, 0.0, 0.0, 0.0, moves.energy_pj, moves.latency_cycles / clock_ghz))
    return found


def total(parts: list[Efficiency]) -> Efficiency:
    """All parts together."""
    names = [field.name for field in fields(Efficiency)][1:]
    return Efficiency("total", *(sum(getattr(part, name) for part in parts) for name in names))
