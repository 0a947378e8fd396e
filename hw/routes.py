"""The ways that transfers take: every one walked link by link, so that each link is counted as often as it is used."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Ints
from .compiled import compiled, inlined
from .network import HERE, Network, Routing
from .transfers import Transfers


class Routes(NamedTuple):
    """What each transfer uses of a network, and how busy that makes it; int64, but for lengths.

    Routers and links that several branches of a multicast pass count for the first branch alone, so sums over
    rows are right. `hops` and `delay_cycles` count the whole way of each row.
    """

    flits: Ints
    """[transfers]"""
    hops: Ints
    """[transfers]: links on the way"""
    delay_cycles: Ints
    """[transfers]: the sum of their delays"""
    sent: Ints
    """[transfers]: flits that the source sends: none but for the first branch of a multicast"""
    routers: Ints
    """[transfers]: routers passed"""
    pitches: NDArray[np.float64]
    """[transfers]: length in tile pitches of the links on chip"""
    crossings: Ints
    """[transfers]: links between chiplets"""
    busiest_flits: Ints
    """[phases]: the most flits over one link, out of one source, or into one sink"""
    link_flits: Ints
    """[routers, ports]: flits over each link, all phases together"""


def walk(transfers: Transfers, flit_bits: int, phases: int, network: Network, node: Ints) -> Routes:
    """The routes of `transfers` between tiles that stand at the nodes `node` (int64 [tiles + 1], the port last)."""
    count = len(transfers.bits)
    flits = transfers.flits(flit_bits)
    routes = Routes(
        flits=flits,
        hops=np.zeros(count, np.int64),
        delay_cycles=np.zeros(count, np.int64),
        sent=flits.copy(),
        routers=np.ones(count, np.int64),
        pitches=np.zeros(count),
        crossings=np.zeros(count, np.int64),
        busiest_flits=np.zeros(phases, np.int64),
        link_flits=np.zeros(network.neighbour.shape, np.int64),
    )
    columns = (transfers.phase, transfers.tree, node[transfers.source], node[transfers.target])
    order = np.lexsort(columns[1::-1])  # phases one after another, and the branches of a tree in a row
    links = (network.neighbour, network.delay, network.length, network.package)
    places = network.neighbour.size + 2 * network.nodes
    scratch = (np.zeros(places, np.int64), np.zeros(places, np.int64), np.full(network.neighbour.size, -1))
    _walk(network.routing, *links, order, *columns, routes, *scratch)
    return routes


@inlined
def port_towards(routing: Routing, router: int, node: int) -> int:
    """The port of a router towards a node; at the node's own router the port where it hangs."""
    end = routing.node_router[node]
    port = routing.first_way[routing.first[router], routing.first[end]]
    if port == HERE:
        port = routing.second_way[routing.second[router], routing.second[end]]
    return port if port != HERE else routing.node_port[node]


@compiled
def _walk(
    routing: Routing, neighbour: Ints, delay: Ints, length: np.ndarray, package: np.ndarray,
    order: Ints, phase: Ints, tree: Ints, source: Ints, target: Ints, found: Routes,
    load: Ints, used: Ints, passed_by: Ints,
) -> None:  # fmt: skip
    """`load`: of links, sources and sinks in the phase under way; `used`: which are not zero.

    `passed_by`: per link, the first row of the tree that passed it last.
    """
    ports, links, nodes = neighbour.shape[1], neighbour.size, len(routing.node_router)
    many = first = 0
    for k in range(len(order)):
        row, before = order[k], order[k - 1]
        flits = found.flits[row]
        if k > 0 and phase[row] != phase[before]:
            many = _close(phase[before], load, used, many, found)
        if k > 0 and phase[row] == phase[before] and tree[row] == tree[before]:
            found.sent[row] = 0
            routers = 0
        else:
            first = k
            many = _add(links + source[row], flits, load, used, many)
            routers = 1
        many = _add(links + nodes + target[row], flits, load, used, many)
        router, end = routing.node_router[source[row]], routing.node_router[target[row]]
        hops = delays = crossings = 0
        pitches = 0.0
        while router != end:
            port = port_towards(routing, router, target[row])
            link = router * ports + port
            hops += 1
            delays += delay[router, port]
            if passed_by[link] != first:
                passed_by[link] = first
                many = _add(link, flits, load, used, many)
                found.link_flits[router, port] += flits
                routers += 1
                if package[router, port]:
                    crossings += 1
                else:
                    pitches += length[router, port]
            router = neighbour[router, port]
        found.hops[row], found.delay_cycles[row], found.routers[row] = hops, delays, routers
        found.pitches[row], found.crossings[row] = pitches, crossings
    if len(order) > 0:
        _close(phase[order[-1]], load, used, many, found)


@inlined
def _add(place: int, flits: int, load: Ints, used: Ints, many: int) -> int:
    if load[place] == 0 and flits > 0:
        used[many] = place
        many += 1
    load[place] += flits
    return many


@inlined
def _close(phase: int, load: Ints, used: Ints, many: int, found: Routes) -> int:
    """The phase is over: its busiest place, and all loads back to zero."""
    for k in range(many):
        found.busiest_flits[phase] = max(found.busiest_flits[phase], load[used[k]])
        load[used[k]] = 0
    return 0
