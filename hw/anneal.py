"""Simulated annealing of a placement: move a tile to another node; a tile that stands there changes places with it.

A move's change of energy is summed over the traffic of the two tiles alone, and the loads of links are changed along
their routes alone, so a move costs the same on a large chip as on a small one. Nine in ten proposals bring a tile next
to one it exchanges flits with; the others go anywhere. A final descent tries every move until none helps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints
from .compiled import compiled, inlined
from .objective import Objective

HOT, COLD = 0.3, 3e-4
"""First and last temperature, as shares of the mean change by a random move."""
TOWARDS_PARTNER, NEAREST = 0.9, 12
"""The share of proposals that go to one of the nodes nearest to a tile's partner, and how many count as nearest."""
PROBES = 1000
"""Random moves that are tried and taken back to find that mean change."""
REFUSED = np.inf


class Problem(NamedTuple):
    """What stays. Tile t's partners are `partner[first[t]:first[t + 1]]`, with flits `to` them and `from_` them.

    `cycles` is the most that a tile can load a link; `cost_from` is `cost` transposed, so that rows of it are read.
    """

    first: Ints
    partner: Ints
    to: Floats
    from_: Floats
    cycles: Floats
    cost: Floats
    cost_from: Floats
    nearest: Ints
    node_router: Ints
    next_port: NDArray[Any]
    neighbour: Ints
    interval: Ints
    link_weight: float


class State(NamedTuple):
    """What moves change.

    `node` of each tile and the port, `tile_at` each node (-1 for none), `load` of links in cycles, and the router and
    port of the `busiest` link.
    """

    node: Ints
    tile_at: Ints
    load: Floats
    busiest: Ints


@inlined
def energy_change(p: Problem, s: State, tile: int, place: int, other: int) -> float:
    """By moving `tile` to node `place`, and `other`, which may be -1, from there to where `tile` was."""
    old, change = s.node[tile], 0.0
    for e in range(p.first[tile], p.first[tile + 1]):
        at = s.node[p.partner[e]]
        then = old if p.partner[e] == other else at
        change += p.to[e] * (p.cost[place, then] - p.cost[old, at])
        change += p.from_[e] * (p.cost_from[place, then] - p.cost_from[old, at])
    if other >= 0:
        for e in range(p.first[other], p.first[other + 1]):
            if p.partner[e] != tile:
                at = s.node[p.partner[e]]
                change += p.to[e] * (p.cost[old, at] - p.cost[place, at])
                change += p.from_[e] * (p.cost_from[old, at] - p.cost_from[place, at])
    return change


@compiled
def load_route(p: Problem, s: State, source: int, target: int, flits: float) -> None:
    """Add `flits` to every link from node `source` to node `target`."""
    router = p.node_router[source]
    while True:
        port = p.next_port[router, target]
        following = p.neighbour[router, port]
        if following < 0:
            return
        s.load[router, port] += flits * p.interval[router, port]
        router = following


@compiled
def load_tiles(p: Problem, s: State, tile: int, other: int, sign: int) -> None:
    """Add, or with `sign` -1 take away, all flits of `tile` and of `other`, which may be -1."""
    for one in (tile, other):
        if one < 0:
            break
        for e in range(p.first[one], p.first[one + 1]):
            if one == tile or p.partner[e] != tile:  # what they exchange counts once
                here, there = s.node[one], s.node[p.partner[e]]
                if p.to[e] > 0:
                    load_route(p, s, here, there, sign * p.to[e])
                if p.from_[e] > 0:
                    load_route(p, s, there, here, sign * p.from_[e])


@inlined
def passes(p: Problem, source: int, target: int, router: int, port: int) -> bool:
    """Does the route from node `source` to node `target` leave `router` through `port`?"""
    if p.next_port[router, target] != port:
        return False
    at = p.node_router[source]
    while at != router:
        at = p.neighbour[at, p.next_port[at, target]]
        if at < 0:
            return False
    return True


@compiled
def loads_busiest(p: Problem, s: State, tile: int) -> bool:
    """Does any flit from or to `tile` pass the busiest link?"""
    router, port, here = s.busiest[0], s.busiest[1], s.node[tile]
    for e in range(p.first[tile], p.first[tile + 1]):
        there = s.node[p.partner[e]]
        if p.to[e] > 0 and passes(p, here, there, router, port):
            return True
        if p.from_[e] > 0 and passes(p, there, here, router, port):
            return True
    return False


@compiled
def find_busiest(s: State) -> None:
    """Write the router and port of the busiest link."""
    highest = -1.0
    for router in range(s.load.shape[0]):
        for port in range(s.load.shape[1]):
            if s.load[router, port] > highest:
                highest = s.load[router, port]
                s.busiest[0], s.busiest[1] = router, port


@inlined
def exchange(s: State, tile: int, place: int, other: int) -> None:
    """`tile` to `place`, `other` to where `tile` was."""
    old = s.node[tile]
    s.node[tile], s.tile_at[place], s.tile_at[old] = place, tile, other
    if other >= 0:
        s.node[other] = old


@compiled
def move(p: Problem, s: State, tile: int, place: int, limit: float) -> float:
    """Move `tile` to another `place` if the objective rises by at most `limit`; returns by how much, or REFUSED."""
    old, other = s.node[tile], s.tile_at[place]
    change = energy_change(p, s, tile, place, other)
    if p.link_weight == 0:
        if change > limit:
            return REFUSED
        exchange(s, tile, place, other)
        return change
    # Only moves of tiles that load the busiest link can relieve it, and by no more than those tiles load it: most moves
    # are refused before any load is changed.
    router, port = s.busiest[0], s.busiest[1]
    busiest = s.load[router, port]
    if change > limit:
        cycles = p.cycles[tile] + (p.cycles[other] if other >= 0 else 0.0)
        if change - p.link_weight * min(busiest, cycles) > limit:
            return REFUSED
        if not loads_busiest(p, s, tile) and (other < 0 or not loads_busiest(p, s, other)):
            return REFUSED
    load_tiles(p, s, tile, other, -1)
    exchange(s, tile, place, other)
    load_tiles(p, s, tile, other, 1)
    find_busiest(s)
    change += p.link_weight * (s.load[s.busiest[0], s.busiest[1]] - busiest)
    if change > limit:
        load_tiles(p, s, tile, other, -1)
        exchange(s, tile, old, other)
        load_tiles(p, s, tile, other, 1)
        s.busiest[0], s.busiest[1] = router, port
        return REFUSED
    return change


@compiled
def settle(p: Problem, s: State, proposals: int, tolerance: float, seed: int) -> None:
    """Cool down over `proposals`, then descend until no move lowers the objective by more than `tolerance`."""
    np.random.seed(seed)
    tiles, nodes = len(s.node) - 1, len(s.tile_at)
    port = s.node[tiles]
    scale = 0.0
    for _ in range(PROBES):
        tile, place = np.random.randint(0, tiles), np.random.randint(0, nodes)
        old = s.node[tile]
        if place != old and place != port:
            scale += abs(move(p, s, tile, place, np.inf)) / PROBES
            move(p, s, tile, old, np.inf)
    temperature, cooling = HOT * scale, (COLD / HOT) ** (1 / proposals)
    for _ in range(proposals):
        temperature *= cooling
        tile = np.random.randint(0, tiles)
        partners = p.first[tile + 1] - p.first[tile]
        if partners > 0 and np.random.random() < TOWARDS_PARTNER:
            partner = p.partner[p.first[tile] + np.random.randint(0, partners)]
            place = p.nearest[s.node[partner], np.random.randint(0, p.nearest.shape[1])]
        else:
            place = np.random.randint(0, nodes)
        if place != s.node[tile] and place != port:
            move(p, s, tile, place, -temperature * np.log(1 - np.random.random()))
    improved = True
    while improved:
        improved = False
        for tile in range(tiles):
            for place in range(nodes):
                new = s.tile_at[place] == -1 or s.tile_at[place] > tile  # the other pairs have had their turn
                if new and place != port and move(p, s, tile, place, -tolerance) != REFUSED:
                    improved = True


def problem(objective: Objective) -> Problem:
    """The objective as the kernel reads it."""
    flits, cost = objective.flits, objective.cost
    tile, partner = np.nonzero(flits + flits.T)
    apart = cost + np.where(np.eye(len(cost)) > 0, -np.inf, 0.0)  # each node is its own nearest, and left out
    network = objective.network if objective.link_weight else None
    none, slowest = np.zeros((0, 0), np.int64), 1 if network is None else int(network.interval.max())
    return Problem(
        first=np.searchsorted(tile, np.arange(len(flits) + 1)),
        partner=partner,
        to=flits[tile, partner],
        from_=flits[partner, tile],
        cycles=(flits.sum(0) + flits.sum(1)) * slowest,
        cost=cost,
        # Where both are the same, one table leaves more room in the cache.
        cost_from=cost if np.array_equal(cost, cost.T) else np.ascontiguousarray(cost.T),
        nearest=np.argsort(apart, axis=1, kind="stable")[:, 1 : NEAREST + 1].copy(),
        node_router=none.ravel() if network is None else network.node_router,
        next_port=none.astype(np.int8) if network is None else network.next_port,
        neighbour=none if network is None else network.neighbour,
        interval=none if network is None else network.interval,
        link_weight=float(objective.link_weight),
    )


def state(objective: Objective, node: Ints) -> State:
    """A state of its own, which starts with the tiles at `node`."""
    tile_at = np.full(len(objective.cost), -1)
    tile_at[node] = np.arange(objective.tiles + 1)
    load = objective.link_cycles(node) if objective.link_weight else np.zeros((1, 1))
    return State(node.copy(), tile_at, load, np.array(np.unravel_index(load.argmax(), load.shape)))


def anneal(objective: Objective, start: Ints, seed: int, restarts: int, sweeps: int) -> Ints:
    """The best of `restarts` annealings, each from `start`; the same for the same seed.

    Each makes `sweeps` proposals per tile. Where one takes longer there are fewer: half as many at 16 partners per
    tile, a quarter where links count. Below 256 tiles, time is left for proportionally more annealings.
    """
    if objective.tiles == 0 or len(objective.cost) < 2 or not objective.flits.any():
        return start
    given = problem(objective)
    work = (1 + len(given.partner) / len(objective.flits) / 16) * (4 if objective.link_weight else 1)
    proposals = int(sweeps * objective.tiles / work) + 1
    best, least = start, np.inf
    for k in np.random.SeedSequence(seed).generate_state(restarts * max(1, 256 // objective.tiles)):
        moving = state(objective, start)
        settle(given, moving, proposals, 1e-12 * objective(start), int(k))
        if (value := objective(moving.node)) < least:
            best, least = moving.node, value
    return best
