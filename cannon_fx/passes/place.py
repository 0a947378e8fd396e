"""Place: tiles onto the routers of the mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from cannon_fx.cost import all_transfers
from cannon_fx.hw.communication import energy_pj
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.objective import Objective
from cannon_fx.hw.optimise import Method, optimise
from cannon_fx.hw.placement import Order, Placement, place
from cannon_fx.hw.transfers import Transfers
from cannon_fx.plans import Plan

PlacementOrder = Order | Method

MOST_NODES = 1 << 14
"""An optimiser's table of energies between all nodes then takes 2 GiB."""


@dataclass(frozen=True)
class Place:
    """Tiles in layer order along a curve, or where an optimiser puts them for the traffic of the whole plan.

    The optimisers start from the best of the curves and lower the dynamic energy of one inference; `seed` is theirs.
    Raises ChipError when the chip has too few tiles, the order is unknown, or the chip too large for an optimiser.
    """

    order: PlacementOrder = "snake"
    seed: int = 0

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, placement=self.placement(plan))

    def placement(self, plan: Plan, transfers: Transfers | None = None) -> Placement:
        """Where the plan's tiles go when these are the transfers of one inference; the plan's own without them."""
        curves, methods = get_args(Order), get_args(Method)
        if self.order not in curves + methods:
            raise ChipError(f"unknown placement order {self.order!r}: choose one of {', '.join(curves + methods)}.")
        if self.order in curves:
            return place(plan.chip, plan.tiles, cast(Order, self.order))
        starts = [place(plan.chip, plan.tiles, curve) for curve in get_args(Order)]
        network, grid = starts[0].network, starts[0].grid
        if network.nodes > MOST_NODES:
            raise ChipError(
                f"order {self.order!r} is for chips of up to {MOST_NODES} nodes, and this one has {network.nodes}. "
                "Choose hilbert, or a chip with fewer and larger tiles."
            )
        ends = np.arange(network.nodes)[:, None], np.arange(network.nodes)
        cost = energy_pj(plan.chip, network.hops(*ends) + 1, network.pitches(*ends), network.crossings(*ends))
        flits = flits_between(plan, transfers or all_transfers(plan, plan.keep())[0])
        objective = Objective(flits, cost)
        start = min((placement.node for placement in starts), key=objective)
        method = cast(Method, self.order)
        return Placement(network, grid, optimise(flits, cost, start, method, seed=self.seed).node)


def flits_between(plan: Plan, transfers: Transfers) -> NDArray[np.float64]:
    """Flits from every tile to every other in one inference, [tiles + 1, tiles + 1]; the last is the port.

    Every row of a multicast counts as a unicast: a tree's links depend on the placement that is looked for.
    """
    flits = np.zeros((plan.tiles + 1, plan.tiles + 1))
    np.add.at(flits, (transfers.source, transfers.target), transfers.flits(plan.chip.noc.flit_bits))
    return flits
