"""What the transfers of a network cost on a chip: flits, energy, latency.

Conventions: per inference; phases run one after another; unicast, or multicast along the tree of the ways. Energy of a
flit = router energy x routers passed + link energy x tile pitches + package energy x links between chiplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chip import Chip
from .noc import Ints
from .placement import Placement
from .routes import Routes, walk
from .transfers import Transfers

LATENCY_MODEL = "analytic"

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


def communicate(transfers: Transfers, phases: int, placement: Placement, chip: Chip) -> Communication:
    """The cost of `transfers`, over all phases at once."""
    network = placement.network
    routes = walk(transfers, chip.noc.flit_bits, phases, network, placement.node)

    def per_phase(values: Counts) -> NDArray[np.float64]:
        total = np.zeros(phases)
        np.add.at(total, transfers.phase, values)
        return total

    latency = _latency_cycles(routes, transfers, phases, chip)
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


def _latency_cycles(routes: Routes, transfers: Transfers, phases: int, chip: Chip) -> NDArray[np.float64]:
    router, packet = chip.noc.router, chip.noc.packet_flits
    rate = min(1.0, router.num_vcs * min(packet / (packet + 2), router.vc_buf_size / (7 + router.credit_delay)))
    farthest = np.zeros(phases, np.int64)
    zero = [router.zero_load_cycles(int(h), packet) for h in range(int(routes.hops.max(initial=0)) + 1)]
    np.maximum.at(farthest, transfers.phase, np.array(zero)[routes.hops] + routes.delay_cycles - routes.hops)
    return np.where(routes.busiest_flits > 0, routes.busiest_flits / rate + farthest, 0.0)
