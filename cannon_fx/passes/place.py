"""Place: tiles onto the routers of the mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np

from cannon_fx.cost import all_transfers
from cannon_fx.hw.communication import flits_for, transfer_energy_pj
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.noc import Ints
from cannon_fx.hw.optimise import Method, optimise
from cannon_fx.hw.placement import Order, Placement, place
from cannon_fx.plans import Plan

PlacementOrder = Order | Method

MOST_ROUTERS = 1 << 14
"""An optimiser's table of energies between all routers then takes 2 GiB."""


@dataclass(frozen=True)
class Place:
    """Tiles in layer order along a curve, or where an optimiser puts them for the traffic of the whole plan.

    The optimisers start from the best of the curves and lower the dynamic energy of one inference; `seed` is theirs.
    Raises ChipError when the chip has too few tiles, the order is unknown, or the mesh too large for an optimiser.
    """

    order: PlacementOrder = "snake"
    seed: int = 0

    def __call__(self, plan: Plan) -> Plan:
        curves, methods = get_args(Order), get_args(Method)
        if self.order not in curves + methods:
            raise ChipError(f"unknown placement order {self.order!r}: choose one of {', '.join(curves + methods)}.")
        if self.order in curves:
            return replace(plan, placement=place(plan.chip, plan.tiles, cast(Order, self.order)))
        return replace(plan, placement=self.optimised(plan, cast(Method, self.order)))

    def optimised(self, plan: Plan, method: Method) -> Placement:
        """The placement by an optimiser."""
        starts = [place(plan.chip, plan.tiles, curve) for curve in get_args(Order)]
        mesh = starts[0].mesh
        if mesh.routers > MOST_ROUTERS:
            raise ChipError(
                f"order {method!r} is for meshes of up to {MOST_ROUTERS} routers, and this one has {mesh.routers}. "
                "Choose hilbert, or a chip with larger tiles."
            )
        routers = np.arange(mesh.routers)
        hops = mesh.hops(routers[:, None], routers)
        energy_pj = transfer_energy_pj(np.ones_like(hops), hops, plan.chip)
        flits = flits_between(plan)

        def total_pj(start: Placement) -> float:
            return float((flits * energy_pj[np.ix_(start.router, start.router)]).sum())

        start = min(starts, key=total_pj)
        return Placement(mesh, optimise(flits, energy_pj, start.router, method, seed=self.seed).router)


def flits_between(plan: Plan) -> Ints:
    """Flits from every tile to every other in one inference, [tiles + 1, tiles + 1]; the last is the port."""
    transfers, _ = all_transfers(plan, plan.keep())
    flits = np.zeros((plan.tiles + 1, plan.tiles + 1), np.int64)
    np.add.at(flits, (transfers.source, transfers.target), flits_for(transfers.bits, plan.chip))
    return flits
