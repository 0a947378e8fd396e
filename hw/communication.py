"""What the transfers of a network cost on a chip: flits, energy, latency.

Conventions: unicast, XY routing, per inference. Phases run one after another. Energy of a transfer =
flits x (hops x E_link + (hops + 1) x E_router). Latency of a phase is `analytic`: the busiest link, source
or sink at its sustained rate, plus the zero-load latency of the farthest transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .chip import Chip
from .noc import Ints
from .placement import Placement

LATENCY_MODEL = "analytic"


@dataclass(frozen=True)
class Transfers:
    """One row per transfer: `bits` that go from tile `source` to tile `target` in phase `phase`."""

    phase: Ints
    source: Ints
    target: Ints
    bits: Ints

    @classmethod
    def concatenate(cls, parts: list[Transfers]) -> Transfers:
        """All rows of `parts`, in order."""
        if not parts:
            return cls(*(np.zeros(0, np.int64) for _ in range(4)))
        columns = ("phase", "source", "target", "bits")
        return cls(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))


@dataclass(frozen=True)
class Communication:
    """Cost per phase, int64 or float64 [phases], and the loads of the links over all phases.

    `hops` and `flits_of` keep one entry per transfer; `link_flits` is [4, rows, columns] (see Mesh.link_loads).
    """

    flits: Ints
    flit_hops: Ints
    energy_pj: NDArray[np.float64]
    static_energy_pj: NDArray[np.float64]
    latency_cycles: NDArray[np.float64]
    link_flits: Ints
    hops: Ints
    flits_of: Ints


def flits_for(bits: Ints, chip: Chip) -> Ints:
    """Flits that carry `bits`; a transfer does not share a flit with another."""
    return -(-bits // chip.noc.flit_bits)


def transfer_energy_pj(flits: Ints, hops: Ints, chip: Chip) -> NDArray[np.float64]:
    """Dynamic energy of `flits` over `hops` links and `hops + 1` routers, pJ."""
    energy: NDArray[np.float64] = chip.link_pj_per_flit * (flits * hops) + chip.energy.router_pj_per_flit * (
        flits * (hops + 1)
    )
    return energy


def zero_load_cycles(hops: Ints, chip: Chip) -> Ints:
    """Latency of one packet alone in the network: router and link delays on its way, and its own length."""
    noc = chip.noc
    return noc.router_cycles * (hops + 1) + noc.link_cycles * hops + noc.endpoint_cycles + noc.packet_flits - 1


def communicate(transfers: Transfers, phases: int, placement: Placement, chip: Chip) -> Communication:
    """The cost of `transfers`, vectorised over all phases at once."""
    mesh, phase = placement.mesh, transfers.phase
    source, target = placement.router[transfers.source], placement.router[transfers.target]
    flits, hops = flits_for(transfers.bits, chip), mesh.hops(source, target)

    def per_phase(values: Ints) -> Ints:
        total = np.zeros(phases, np.int64)
        np.add.at(total, phase, values)
        return total

    def busiest(tile: Ints) -> Ints:
        # A port shares its router with a tile but has a channel of its own, so this counts tiles, not routers.
        load = np.zeros((phases, placement.tiles + 1), np.int64)
        np.add.at(load, (phase, tile), flits)
        return load.max(axis=1)

    loads = mesh.link_loads(phase, source, target, flits, phases)
    worst = np.maximum.reduce([loads.max(axis=(1, 2, 3)), busiest(transfers.source), busiest(transfers.target)])
    farthest = np.zeros(phases, np.int64)
    np.maximum.at(farthest, phase, hops)
    total_flits, flit_hops = per_phase(flits), per_phase(flits * hops)
    latency = np.where(total_flits > 0, worst / chip.flits_per_cycle + zero_load_cycles(farthest, chip), 0.0)
    return Communication(
        flits=total_flits,
        flit_hops=flit_hops,
        energy_pj=chip.link_pj_per_flit * flit_hops + chip.energy.router_pj_per_flit * (flit_hops + total_flits),
        static_energy_pj=latency * mesh.routers * chip.static_pj_per_router_cycle,
        latency_cycles=latency,
        link_flits=loads.sum(axis=0),
        hops=hops,
        flits_of=flits,
    )
