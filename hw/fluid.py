"""How long a phase takes when its flows share the network like fluids: steady rates from one flow's end to the next.

See docs/analytic.md for the equations. The rates are a fixed point: what a channel carries says what its
turns compete for, and what they win says what it can carry; a sweep from the ejections back to the sources
takes one round of that.
"""

from __future__ import annotations

import numpy as np

from .arrays import Floats, Ints
from .compiled import compiled_with_arrays
from .flows import Flows, Rows, Wires, flows_of, may_deadlock
from .routes import port_towards
from .service import Service, inject_cycles, link_cycles, source_cycles

LOST = 0.5
"""of the offers that an output makes to an input while that sends elsewhere: it has them half of the time"""
SETTLED = 0.02
"""relative change of a rate in one round below which the rates count as found"""
TOGETHER = 0.1
"""flows whose ends differ by less than this share of the time so far end together"""
FIRST_ROUNDS, ROUNDS = 8, 3
"""of a burst, and after each of its flows' ends"""
OPEN_ROUNDS = 60
"""at most, of a window of open traffic: what is not in everyone's way must not count as if it were"""
NOTHING = 1e-9
"""share of a flow below which it counts as sent"""
STEP = 0.4
"""of the way to the new rates that a round goes: inputs of one output react to each other, and must not swing"""


@compiled_with_arrays
def _turns(s: Service, largest: float) -> float:
    """Time that packets occupy the VCs of a link, over that of packets from one input.

    `largest` is the greatest share of one input. Inputs with packets take turns, so two packets in a row come from
    the same one only when it has more than half of them.
    """
    same = max(0.0, 2 * largest - 1)
    return same + (1 - same) * s.alternate


@compiled_with_arrays
def _rates(
    s: Service, f: Flows, rates: np.ndarray, most: np.ndarray, live: np.ndarray, waits: np.ndarray,
    capacity: np.ndarray, rounds: int,
) -> None:  # fmt: skip
    """Find the rates of the live flows, as shares of each flow per cycle, at most `most`, starting from those given.

    Kept from one call to the next: `waits` [turns], how long a packet waits for others at an output, in units of the
    time it occupies its input alone, of which the others hold the output for the part `alternate` (a packet is routed
    while it waits); `capacity` [channels], what a channel can carry, in cycles of work per cycle.
    """
    channels, turns = len(f.order), len(f.leaves)
    load = np.empty(turns)
    used, held, inputs = np.empty(channels), np.empty(channels), np.empty(channels)
    claims, wasted, largest, waiting = np.empty(channels), np.empty(channels), np.empty(channels), np.empty(channels)
    grows = np.zeros(channels)
    for _ in range(rounds):
        load[:] = 0.0
        for source in live:
            for k in range(f.shares[source], f.shares[source + 1]):
                load[f.turn[k]] += rates[source] * f.work[k]
        used[:], held[:], inputs[:], claims[:] = 0.0, 0.0, 0.0, 0.0
        wasted[:], largest[:], waiting[:] = 0.0, 0.0, 0.0
        for t in range(turns):
            used[f.enters[t]] += load[t]
            held[f.enters[t]] += load[t] * f.occupancy[t]
            inputs[f.leaves[t]] += load[t] * f.occupancy[t]
        for t in range(turns):
            if load[t] > 0:
                into, out = f.leaves[t], f.enters[t]
                share, own = load[t] / used[out], load[t] * f.occupancy[t]
                claims[out] += own / inputs[into]
                wasted[out] += share * (inputs[into] - own) / max(1.0, inputs[into])
                largest[out] = max(largest[out], share)
                waiting[out] += s.alternate * load[t] * (waits[t] + 0.5)
        for t in range(turns):
            if load[t] > 0:
                others = waiting[f.enters[t]] - s.alternate * load[t] * (waits[t] + 0.5)
                waits[t] = 0.5 * (waits[t] + others)
        for c in f.order:
            # By how much what the channel carries could grow; its turns keep their proportions.
            factor, blocked = np.inf, 0.0
            for t in range(f.turns[c], f.turns[c + 1]):
                if load[t] > 0:
                    out = f.enters[t]
                    fair = capacity[out] * load[t] * f.occupancy[t] / inputs[c] / claims[out]
                    factor = min(factor, max(fair, capacity[out] - used[out] + load[t]) / load[t])
                    blocked += load[t] * waits[t]
            if inputs[c] > 0:
                alone = inputs[c] + blocked * (1 + s.spill)
                factor = min(factor, 1 / alone if s.vcs == 1 else s.internal_speedup / inputs[c])
            grows[c] = factor
            if used[c] > 0:
                capacity[c] = min(1 / _turns(s, largest[c]), factor * used[c])
                if s.vcs > 1:
                    switch = s.internal_speedup * (1 - LOST / s.input_speedup * wasted[c])
                    capacity[c] = min(capacity[c], switch * used[c] / held[c])
        change = 0.0
        for source in live:
            new = min(most[source], rates[source] * grows[f.injection[source]])
            change = max(change, abs(new / rates[source] - 1))
            rates[source] += STEP * (new - rates[source])
        if change < SETTLED:
            return


@compiled_with_arrays
def _guess(f: Flows, rates: np.ndarray, most: np.ndarray, live: np.ndarray) -> None:
    """Rates to start from: as if each flow met its most crowded channel alone."""
    load = np.zeros(len(f.order))
    for source in live:
        for k in range(f.shares[source], f.shares[source + 1]):
            load[f.enters[f.turn[k]]] += most[source] * f.work[k]
    for source in live:
        crowd = 1.0
        for k in range(f.shares[source], f.shares[source + 1]):
            crowd = max(crowd, load[f.enters[f.turn[k]]])
        rates[source] = most[source] / crowd


@compiled_with_arrays
def _drain(s: Service, f: Flows, ends: np.ndarray, arrived: np.ndarray) -> float:
    """Cycles until the last packet is out when sources and channels are coupled at every moment.

    `arrived` [sources, windows] is the share of each flow that is there at the end of each window, `ends` [windows];
    without windows all is there at once. In a window a source offers what it has, evenly; then the rest drains.
    """
    sources = len(f.alone)
    rates, left, most = np.zeros(sources), np.ones(sources), 1 / f.alone
    waits, capacity = np.zeros(len(f.leaves)), np.ones(len(f.order))
    now = 0.0
    for window in range(len(ends)):
        cycles = ends[window] - now
        demand = np.minimum(most, (arrived[:, window] - 1 + left) / cycles)
        live = np.flatnonzero(demand * cycles > NOTHING)
        _guess(f, rates, demand, live)
        _rates(s, f, rates, demand, live, waits, capacity, OPEN_ROUNDS)
        for source in live:
            left[source] = max(0.0, left[source] - rates[source] * cycles)
        now = ends[window]
    live = np.flatnonzero(left > NOTHING)
    _guess(f, rates, most, live)
    end, rounds = now, FIRST_ROUNDS
    while len(live) > 0:
        _rates(s, f, rates, most, live, waits, capacity, rounds)
        rounds = ROUNDS
        step = np.inf
        for flow in live:
            step = min(step, left[flow] / rates[flow])
        together = step + TOGETHER * (now + step)
        kept = 0
        for k in range(len(live)):
            flow = live[k]
            cycles = left[flow] / rates[flow]
            if cycles <= together:
                end = max(end, now + cycles + f.tail[flow])
            else:
                left[flow] -= rates[flow] * step
                live[kept] = flow
                kept += 1
        live = live[:kept]
        now += step
    return end


@compiled_with_arrays
def _makespan(s: Service, f: Flows, ends: np.ndarray, arrived: np.ndarray) -> float:
    """Cycles until the last packet of a phase is out.

    Buffers uncouple sources from the busiest link: the flits that can wait before it leave at its full rate. Between
    the time with as much as that (`at_link`) and the coupled time we go by their share of its flits.
    """
    channels = len(f.order)
    load, before, flits = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    by_turn, largest = np.zeros(len(f.leaves)), np.zeros(channels)
    for k in range(len(f.turn)):
        load[f.enters[f.turn[k]]] += f.work[k]
        by_turn[f.turn[k]] += f.work[k]
        flits[f.leaves[f.turn[k]]] += f.flits[k]
    for t in range(len(by_turn)):
        largest[f.enters[t]] = max(largest[f.enters[t]], by_turn[t] / load[f.enters[t]])
    for c in range(channels):
        load[c] *= _turns(s, largest[c])
    busiest = np.argmax(load)
    through, packets, latency = 0.0, 0.0, 0.0
    for k in range(len(f.turn)):
        if f.enters[f.turn[k]] == busiest:
            through += f.flits[k]
            packets += f.packets[k]
            latency += f.zero_load[k]
            step = k
            while step >= 0:
                before[f.leaves[f.turn[step]]] += f.flits[k]
                step = f.before[step]
    at_link = load[busiest] * (1 - 1 / packets) + latency / through
    room = 0.0
    for c in range(channels):
        if before[c] > 0:
            room += min(before[c], s.vcs * s.buffer * before[c] / flits[c])
    free = min(1.0, room / through)
    alone, serial = 0.0, 0.0
    for source in range(len(f.alone)):
        alone = max(alone, f.alone[source] + f.tail[source])
        serial += f.alone[source] + f.tail[source]
    if s.circles:
        return max(alone, at_link)
    last = ends[-1] if len(ends) > 0 else 0.0
    # Sharing never takes longer than one source after the other.
    coupled = min(_drain(s, f, ends, arrived), last + serial)
    return max(alone, at_link, free * max(at_link, last) + (1 - free) * coupled)


@compiled_with_arrays
def makespans(s: Service, w: Wires, rows: Rows, phase_of: Ints, phases: int, ends: Floats, arrived: Floats) -> Floats:
    """Cycles of every phase; `phase_of` [senders] ascends.

    `arrived` [senders, windows]: the share of a sender's packets that is there at the end of each window of its phase,
    `ends` [phases, windows] in cycles. Without windows all are there at the beginning. NaN for a phase whose packets
    may wait for each other in a circle: back-pressure has no end to start from, and the network may deadlock.
    """
    routers, ports = w.neighbour.shape
    turn_at, share_at = np.full(routers * ports * ports, -1), np.full(routers * ports * ports, -1)
    channel_at, row_of = np.full(2 * routers * ports, -1), np.full(len(w.routing.node_router), -1)
    cycles = np.zeros(phases)
    first = 0
    while first < len(phase_of):
        last = first + 1
        while last < len(phase_of) and phase_of[last] == phase_of[first]:
            last += 1
        f = flows_of(s, w, rows, first, last, turn_at, share_at, channel_at, row_of)
        if len(w.routing.second_way) == 1 and not s.circles and may_deadlock(f):  # only on a graph of its own kind
            cycles[phase_of[first]] = np.nan
        else:
            cycles[phase_of[first]] = _makespan(s, f, ends[phase_of[first]], arrived[first:last])
        first = last
    return cycles


@compiled_with_arrays
def backlogs(s: Service, w: Wires, source: Ints, target: Ints, flits: Ints) -> Floats:
    """Work of the busiest source or link of every packet and those before it, in the order given."""
    routers, ports = w.neighbour.shape
    link, sender = np.zeros(routers * ports), np.zeros(len(w.routing.node_router))
    most, found = 0.0, np.zeros(len(source))
    for k in range(len(source)):
        at, hops = w.routing.node_router[source[k]], 0
        while at != w.routing.node_router[target[k]]:
            at = w.neighbour[at, port_towards(w.routing, at, target[k])]
            hops += 1
        inject = inject_cycles(s, flits[k], hops)
        sender[source[k]] += source_cycles(s, flits[k], 1.0, inject)
        most = max(most, sender[source[k]])
        at = w.routing.node_router[source[k]]
        while True:
            port = port_towards(w.routing, at, target[k])
            to_node = w.neighbour[at, port] < 0
            delay, interval = (1, 1) if to_node else (w.delay[at, port], w.interval[at, port])
            link[at * ports + port] += link_cycles(s, flits[k], 1.0, inject, delay, interval, to_node)
            most = max(most, link[at * ports + port])
            if to_node:
                break
            at = w.neighbour[at, port]
        found[k] = most
    return found
