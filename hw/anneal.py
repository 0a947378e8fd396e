"""Simulated annealing of a placement: move a tile to another router, free or not; tiles there change places.

A move's change of energy is summed over the traffic of the two tiles alone, and the loads of links are changed along
their routes alone, so a move costs the same on a large chip as on a small one. Nine in ten proposals bring a tile next
to one it exchanges flits with; the others go anywhere. A final descent tries every move until none helps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled, inlined
from .noc import Ints
from .objective import Floats, Objective

HOT, COLD = 0.3, 3e-4
"""First and last temperature, as shares of the mean change by a random move."""
TOWARDS_PARTNER, NEAREST = 0.9, 12
"""The share of proposals that go to one of the nearest routers of a tile's partner, and how many count as nearest."""
PROBES = 1000
"""Random moves that are tried and taken back to find that mean change."""
REFUSED = np.inf


class Problem(NamedTuple):
    """What stays. Tile t's partners are `partner[first[t]:first[t + 1]]`, with flits `to` them and `from_` them.

    `cost_from` is the transposed `cost`: a row of it is a run of memory.
    """

    first: Ints
    partner: Ints
    to: Floats
    from_: Floats
    volume: Floats
    cost: Floats
    cost_from: Floats
    nearest: Ints
    next_port: NDArray[Any]
    neighbour: Ints
    link_weight: float


class State(NamedTuple):
    """What moves change: each tile's router, each router's tile or -1, flits over links, (router, port) of the busiest."""

    router: Ints
    tile_at: Ints
    load: Floats
    busiest: Ints


@inlined
def energy_change(p: Problem, s: State, tile: int, place: int, other: int) -> float:
    """By moving `tile` to `place`, and `other`, which may be -1, from there to where `tile` was."""
    old, change = s.router[tile], 0.0
    for e in range(p.first[tile], p.first[tile + 1]):
        at = s.router[p.partner[e]]
        then = old if p.partner[e] == other else at
        change += p.to[e] * (p.cost[place, then] - p.cost[old, at])
        change += p.from_[e] * (p.cost_from[place, then] - p.cost_from[old, at])
    if other >= 0:
        for e in range(p.first[other], p.first[other + 1]):
            if p.partner[e] != tile:
                at = s.router[p.partner[e]]
                change += p.to[e] * (p.cost[old, at] - p.cost[place, at])
                change += p.from_[e] * (p.cost_from[old, at] - p.cost_from[place, at])
    return change


@compiled
def load_route(p: Problem, s: State, source: int, target: int, flits: float) -> None:
    """Add `flits` to every link from router `source` to `target`."""
    while True:
        port = p.next_port[source, target]
        following = p.neighbour[source, port]
        if following < 0:
            return
        s.load[source, port] += flits
        source = following


@compiled
def load_tiles(p: Problem, s: State, tile: int, other: int, sign: int) -> None:
    """Add, or with `sign` -1 take away, all flits of `tile` and of `other`, which may be -1."""
    for one in (tile, other):
        if one < 0:
            break
        for e in range(p.first[one], p.first[one + 1]):
            if one == tile or p.partner[e] != tile:  # what they exchange counts once
                here, there = s.router[one], s.router[p.partner[e]]
                if p.to[e] > 0:
                    load_route(p, s, here, there, sign * p.to[e])
                if p.from_[e] > 0:
                    load_route(p, s, there, here, sign * p.from_[e])


@inlined
def passes(p: Problem, source: int, target: int, router: int, port: int) -> bool:
    """Does the route from `source` to `target` leave `router` through `port`?"""
    if p.next_port[router, target] != port:
        return False
    while source != router:
        source = p.neighbour[source, p.next_port[source, target]]
        if source < 0:
            return False
    return True


@compiled
def loads_busiest(p: Problem, s: State, tile: int) -> bool:
    """Does any flit from or to `tile` pass the busiest link?"""
    router, port, here = s.busiest[0], s.busiest[1], s.router[tile]
    for e in range(p.first[tile], p.first[tile + 1]):
        there = s.router[p.partner[e]]
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
    old = s.router[tile]
    s.router[tile], s.tile_at[place], s.tile_at[old] = place, tile, other
    if other >= 0:
        s.router[other] = old


@compiled
def move(p: Problem, s: State, tile: int, place: int, limit: float) -> float:
    """Move `tile` to another `place` if the objective rises by at most `limit`; returns by how much, or REFUSED."""
    old, other = s.router[tile], s.tile_at[place]
    change = energy_change(p, s, tile, place, other)
    if p.link_weight == 0:
        if change > limit:
            return REFUSED
        exchange(s, tile, place, other)
        return change
    # Only moves of tiles that load the busiest link can relieve it, and by no more than these tiles' flits: most moves
    # are refused before any load is changed.
    router, port = s.busiest[0], s.busiest[1]
    busiest = s.load[router, port]
    if change > limit:
        volume = p.volume[tile] + (p.volume[other] if other >= 0 else 0.0)
        if change - p.link_weight * min(busiest, volume) > limit:
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
    tiles, places = len(s.router) - 1, len(s.tile_at)
    scale = 0.0
    for _ in range(PROBES):
        tile, place = np.random.randint(0, tiles), np.random.randint(0, places)
        old = s.router[tile]
        if place != old:
            scale += abs(move(p, s, tile, place, np.inf)) / PROBES
            move(p, s, tile, old, np.inf)
    temperature, cooling = HOT * scale, (COLD / HOT) ** (1 / proposals)
    for _ in range(proposals):
        temperature *= cooling
        tile = np.random.randint(0, tiles)
        partners = p.first[tile + 1] - p.first[tile]
        if partners > 0 and np.random.random() < TOWARDS_PARTNER:
            partner = p.partner[p.first[tile] + np.random.randint(0, partners)]
            place = p.nearest[s.router[partner], np.random.randint(0, p.nearest.shape[1])]
        else:
            place = np.random.randint(0, places)
        if place != s.router[tile]:
            move(p, s, tile, place, -temperature * np.log(1 - np.random.random()))
    improved = True
    while improved:
        improved = False
        for tile in range(tiles):
            for place in range(places):
                if s.tile_at[place] == -1 or s.tile_at[place] > tile:
                    if place != s.router[tile] and move(p, s, tile, place, -tolerance) != REFUSED:
                        improved = True


def problem(objective: Objective) -> Problem:
    """The objective as the kernel reads it."""
    flits, cost = objective.flits, objective.cost
    tile, partner = np.nonzero(flits + flits.T)
    apart = cost + np.where(np.eye(len(cost)) > 0, -np.inf, 0.0)  # each router is its own nearest, and left out
    network = objective.network
    return Problem(
        first=np.searchsorted(tile, np.arange(len(flits) + 1)),
        partner=partner,
        to=flits[tile, partner],
        from_=flits[partner, tile],
        volume=flits.sum(0) + flits.sum(1),
        cost=cost,
        cost_from=np.ascontiguousarray(cost.T),
        nearest=np.argsort(apart, axis=1, kind="stable")[:, 1 : NEAREST + 1].copy(),
        next_port=np.zeros((0, 0), np.int8) if network is None else network.next_port,
        neighbour=np.zeros((0, 0), np.int64) if network is None else network.neighbour,
        link_weight=float(objective.link_weight),
    )


def state(objective: Objective, router: Ints) -> State:
    """A state of its own, which starts with the tiles at `router`."""
    tile_at = np.full(len(objective.cost), -1)
    tile_at[router[:-1]] = np.arange(objective.tiles)
    load = objective.link_flits(router) if objective.link_weight else np.zeros((1, 1))
    return State(router.copy(), tile_at, load, np.array(np.unravel_index(load.argmax(), load.shape)))


def anneal(objective: Objective, start: Ints, seed: int, restarts: int, sweeps: int) -> Ints:
    """The best of `restarts` annealings, each from `start`, with `sweeps` proposals per tile; the same for a seed.

    Where a move costs more there are fewer: half as many at 16 partners per tile, a quarter where links count.
    """
    if objective.tiles == 0 or len(objective.cost) < 2 or not objective.flits.any():
        return start
    given = problem(objective)
    work = (1 + len(given.partner) / len(objective.flits) / 16) * (4 if objective.link_weight else 1)
    proposals = int(sweeps * objective.tiles / work) + 1
    best, least = start, np.inf
    for k in np.random.SeedSequence(seed).generate_state(restarts):
        moving = state(objective, start)
        settle(given, moving, proposals, 1e-12 * objective(start), int(k))
        if (value := objective(moving.router)) < least:
            best, least = moving.router, value
    return best
