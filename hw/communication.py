"""What the transfers of a network cost on a chip: flits, energy, latency.

Conventions: per inference; phases run one after another; unicast, or multicast along the tree of the ways. Energy of a
flit = router energy x routers passed + link energy x tile pitches + package energy x links between chiplets.
Latency of a phase is `analytic` (hw/analytic.py), or `simulated` flit by flit (hw/simulator.py): all transfers
start at once, and those of one tile take turns, packet by packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .analytic import phase_makespans
from .chip import Chip
from .errors import ChipError
from .noc import Ints
from .placement import Placement
from .routes import Routes, walk
from .simulator import simulate
from .traffic import Packets
from .transfers import Transfers

LatencyModel = Literal["analytic", "simulated"]

Counts = Ints | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Communication:
    """Cost per phase, [phases] each, and the routes behind it. Counts are int64, energies and latencies float64."""

    routes: Routes
    flits: Ints
    flit_hops: Ints
    """flits times links"""
    energy_pj: NDArray[np.float64]
    static_energy_pj: NDArray[np.float64]
    latency_cycles: NDArray[np.float64]


def energy_pj(chip: Chip, routers: Counts, pitches: Counts, crossings: Counts) -> Any:
    """Dynamic energy of flits that pass so many routers, tile pitches of link, and links between chiplets."""
    energy = chip.noc_energy
    on_chip = energy.router_pj_per_flit * routers + energy.link_pj_per_flit * pitches
    return on_chip + chip.crossing_pj_per_flit * crossings


def communicate(
    transfers: Transfers, phases: int, placement: Placement, chip: Chip, latency_model: LatencyModel = "analytic"
) -> Communication:
    """The cost of `transfers`, over all phases at once. Raises ChipError for a multicast that is to be simulated."""
    network = placement.network
    routes = walk(transfers, chip.noc.flit_bits, phases, network, placement.node)

    def per_phase(values: Counts) -> NDArray[np.float64]:
        total = np.zeros(phases)
        np.add.at(total, transfers.phase, values)
        return total

    latency_cycles = _simulated_cycles if latency_model == "simulated" else _analytic_cycles
    latency = latency_cycles(routes, transfers, phases, placement, chip)
    links = routes.routers - (routes.sent > 0)  # each way of its own begins in one router more
    return Communication(
        routes=routes,
        flits=per_phase(routes.sent).astype(np.int64),
        flit_hops=per_phase(routes.flits * links).astype(np.int64),
        energy_pj=energy_pj(
            chip,
            per_phase(routes.flits * routes.routers),
            per_phase(routes.flits * routes.pitches),
            per_phase(routes.flits * routes.crossings),
        ),
        static_energy_pj=latency
        * chip.static_pj_per_cycle(network.routers, float(network.length[~network.package].sum())),
        latency_cycles=latency,
    )


def _analytic_cycles(
    routes: Routes, transfers: Transfers, phases: int, placement: Placement, chip: Chip
) -> NDArray[np.float64]:
    node, noc = placement.node, chip.noc
    ends = node[transfers.source], node[transfers.target]
    return phase_makespans(
        transfers.phase, *ends, routes.flits, phases, noc.packet_flits, placement.network, noc.router
    )


def _simulated_cycles(
    routes: Routes, transfers: Transfers, phases: int, placement: Placement, chip: Chip
) -> NDArray[np.float64]:
    if (routes.sent < routes.flits).any():
        raise ChipError(
            f"chip {chip.name!r} multicasts, which cannot be simulated flit by flit. Take the analytic latency, or set "
            "noc.multicast = false."
        )
    node, cycles = placement.node, np.zeros(phases)
    for phase in np.unique(transfers.phase):
        rows = transfers.phase == phase
        ends = node[transfers.source[rows]], node[transfers.target[rows]]
        packets = Packets.of_flows(*ends, routes.flits[rows], chip.noc.packet_flits)
        cycles[phase] = simulate(packets, placement.network, chip.noc.router).makespan_cycles
    return cycles
