"""Which transfers load each link of the network most: who sends what where."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cannon_fx.cost import Cost
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.compiled import compiled
from cannon_fx.hw.network import Routing
from cannon_fx.hw.routes import port_towards
from cannon_fx.plans import Plan

MOST = 3
"""Transfers named for each link."""


def link_transfers(plan: Plan, cost: Cost) -> Mapping[tuple[int, int], tuple[int, list[list[int]]]]:
    """By (router, port): how many transfers pass the link, and the largest as [phase, source, target, flits].

    Source and target are tiles, or PORT. Of a multicast, whose branches share the link, the first branch's target
    stands for all.
    """
    communication, network = cost.communication, plan.placed().network
    transfers, routes, node = communication.transfers, communication.routes, plan.placed().node
    row, link = (np.empty(int(routes.hops.sum()), np.int64) for _ in range(2))
    _ways(network.routing, network.neighbour, node[transfers.source], node[transfers.target], row, link)
    keys = np.column_stack([link, transfers.phase[row], transfers.tree[row]])
    first = np.unique(keys, axis=0, return_index=True)[1]  # one branch of each multicast
    row, link = row[first], link[first]
    flits = routes.flits[row]
    order = np.lexsort((-flits, link))
    columns = (transfers.phase[row], transfers.source[row], transfers.target[row], flits)
    rows = np.column_stack([column[order] for column in columns])
    links, starts, counts = np.unique(link[order], return_index=True, return_counts=True)
    ports = network.neighbour.shape[1]
    return {
        divmod(int(at), ports): (int(count), rows[start : start + min(count, MOST)].tolist())
        for at, start, count in zip(links, starts, counts, strict=True)
    }


@compiled
def _ways(routing: Routing, neighbour: Ints, source: Ints, target: Ints, row: Ints, link: Ints) -> None:
    """Fill `row` and `link` with every link of every transfer's way; a link is router x ports + port."""
    at = 0
    for k in range(len(source)):
        router, end = routing.node_router[source[k]], routing.node_router[target[k]]
        while router != end:
            port = port_towards(routing, router, target[k])
            row[at], link[at] = k, router * neighbour.shape[1] + port
            router = neighbour[router, port]
            at += 1
