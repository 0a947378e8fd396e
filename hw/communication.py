"""What the transfers of a network cost on a chip: flits, energy, latency.

Conventions: per inference; phases run one after another; unicast, or multicast along the tree of the ways. Energy of a
flit = router energy x routers passed + link energy x tile pitches + package energy x links between chiplets.
Latency of a phase is `analytic` (hw/analytic.py), or `simulated` flit by flit (hw/simulator.py): all transfers
start at once, and those of one tile take turns, packet by packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .analytic import cycles_per_flit, phase_makespans
from .arrays import Ints
from .chip import Chip
from .errors import ChipError
from .placement import Placement
from .routes import Routes, walk
from .simulator import simulate
from .traffic import Packets
from .transfers import Transfers

LatencyModel = Literal["analytic", "simulated"]

Counts = Ints | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Communication:
    """What transfers cost, per phase: [phases] each. Counts are int64, energies and latencies float64.

    Latency is computed when it is first asked for: who searches for energy alone does not wait for it.
    """

    transfers: Transfers
    phases: int
    placement: Placement
    chip: Chip
    latency_model: LatencyModel
    routes: Routes

    @cached_property
    def flits(self) -> Ints:
        """Flits that leave their source."""
        return self._sum(self.routes.sent).astype(np.int64)

    @cached_property
    def flit_hops(self) -> Ints:
        """Flits times links."""
        links = self.routes.routers - (self.routes.sent > 0)  # a way begins in one router more than it has links
        return self._sum(self.routes.flits * links).astype(np.int64)

    @cached_property
    def energy_pj(self) -> NDArray[np.float64]:
        """Dynamic energy."""
        routes = self.routes
        used = (routes.flits * each for each in (routes.routers, routes.pitches, routes.crossings))
        found: NDArray[np.float64] = energy_pj(self.chip, *map(self._sum, used))
        return found

    @cached_property
    def static_energy_pj(self) -> NDArray[np.float64]:
        """Leakage and clock over the latency."""
        network = self.placement.network
        pitches = float(network.length[~network.package].sum())
        return self.latency_cycles * self.chip.static_pj_per_cycle(network.routers, pitches)

    @cached_property
    def latency_cycles(self) -> NDArray[np.float64]:
        """From the first flit's creation to the last one's ejection. Raises ChipError where it cannot be simulated."""
        node, noc, flits = self.placement.node, self.chip.noc, self.routes.flits
        phase, source, target = self.transfers.phase, node[self.transfers.source], node[self.transfers.target]
        network, router = self.placement.network, noc.router
        multicast = bool((self.routes.sent < flits).any())
        if self.latency_model == "analytic":
            if multicast:
                return self._busiest_cycles()
            return phase_makespans(phase, source, target, flits, self.phases, noc.packet_flits, network, router)
        if multicast:
            raise ChipError(
                f"chip {self.chip.name!r} multicasts, which cannot be simulated flit by flit. Take the analytic "
                "latency, or set noc.multicast = false."
            )
        cycles = np.zeros(self.phases)
        for number in np.unique(phase):
            rows = phase == number
            packets = Packets.of_flows(source[rows], target[rows], flits[rows], noc.packet_flits)
            cycles[number] = simulate(packets, network, router).makespan_cycles
        return cycles

    def _busiest_cycles(self) -> NDArray[np.float64]:
        """Of multicasts: the busiest link, source or sink alone, and the way of the farthest transfer."""
        noc, routes = self.chip.noc, self.routes
        alone = noc.router.zero_load_cycles(routes.hops, np.asarray(noc.packet_flits), routes.delay_cycles)
        farthest = np.zeros(self.phases)
        np.maximum.at(farthest, self.transfers.phase, np.where(routes.flits > 0, alone, 0))
        one_flit = cycles_per_flit(noc.packet_flits, self.placement.network, noc.router)
        return np.maximum(routes.busiest_flits - noc.packet_flits, 0) * one_flit + farthest

    def _sum(self, values: Counts) -> NDArray[np.float64]:
        """Of the transfers of each phase."""
        total = np.zeros(self.phases)
        np.add.at(total, self.transfers.phase, values)
        return total


def energy_pj(chip: Chip, routers: Counts, pitches: Counts, crossings: Counts) -> Any:
    """Dynamic energy of flits that pass so many routers, tile pitches of link, and links between chiplets."""
    energy = chip.noc_energy
    on_chip = energy.router_pj_per_flit * routers + energy.link_pj_per_flit * pitches
    return on_chip + chip.crossing_pj_per_flit * crossings


def communicate(
    transfers: Transfers, phases: int, placement: Placement, chip: Chip, latency_model: LatencyModel = "analytic"
) -> Communication:
    """The cost of `transfers`, over all phases at once."""
    routes = walk(transfers, chip.noc.flit_bits, phases, placement.network, placement.node)
    return Communication(transfers, phases, placement, chip, latency_model, routes)
