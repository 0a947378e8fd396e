"""The traffic of one phase as flows: every source's packets in all, spread over the ways they take.

A channel is an input of a router (a link's end, or a node's injection) or a node's ejection. A turn leads from
one channel to the next. Sources mix their packets, so a source's flow is a tree of turns, each with its share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arrays import Floats, Ints
from .compiled import compiled_with_arrays
from .network import Routing
from .routes import port_towards
from .service import Service, inject_cycles, input_cycles, link_cycles, source_cycles, tail_cycles


class Wires(NamedTuple):
    """The arrays of a Network that compiled code reads."""

    neighbour: Ints
    neighbour_port: Ints
    delay: Ints
    interval: Ints
    routing: Routing


class Rows(NamedTuple):
    """Transfers, or packets, grouped by sender: `order[begin[b] : begin[b + 1]]` are the rows of sender b."""

    order: Ints
    begin: Ints
    source: Ints
    target: Ints
    flits: Floats
    packets: Floats


class Flows(NamedTuple):
    """One phase. Shares are in order of source, turns in order of the channel they leave."""

    shares: Ints
    """[sources + 1] where each source's shares begin"""
    turn: Ints
    """[shares]"""
    before: Ints
    """[shares] the share of the turn before on the way, -1 at the source"""
    work: Floats
    """[shares] cycles of capacity of the channel entered"""
    flits: Floats
    """[shares]"""
    packets: Floats
    """[shares]"""
    zero_load: Floats
    """[shares] zero-load latency, summed over flits"""
    leaves: Ints
    """[turns] channel"""
    enters: Ints
    """[turns] channel"""
    occupancy: Floats
    """[turns] cycles of the channel left per cycle of work, when nothing holds packets up"""
    turns: Ints
    """[channels + 1] where the turns that leave each channel begin"""
    order: Ints
    """[channels] those nearest to the ejections first"""
    injection: Ints
    """[sources] channel"""
    alone: Floats
    """[sources] cycles in which the source would send everything if it were alone"""
    tail: Floats
    """[sources] cycles from there to the ejection of its last packet, when its target is the farthest"""


@compiled_with_arrays
def _room(array: np.ndarray, size: int) -> np.ndarray:
    """The array, or a copy of at least twice its length if it has no place for index `size`."""
    if size < len(array):
        return array
    longer = np.empty(2 * size + 16, array.dtype)
    longer[: len(array)] = array
    return longer


@compiled_with_arrays
def flows_of(s: Service, w: Wires, rows: Rows, first: int, last: int, turn_at: np.ndarray, share_at: np.ndarray,
             channel_at: np.ndarray, row_of: np.ndarray) -> Flows:  # fmt: skip
    """The flows of the senders `first` to `last` - 1.

    The arrays at the end are scratch, all -1, and are so again at the end: one entry per turn of the network (twice),
    per channel, and per node.
    """
    routers, ports = w.neighbour.shape
    sources = last - first
    shares = np.zeros(sources + 1, np.int64)
    injection, alone, tail = np.zeros(sources, np.int64), np.zeros(sources), np.zeros(sources)
    turn, before, flits = np.empty(256, np.int64), np.empty(256, np.int64), np.empty(256)
    packets, inject, zero_load = np.empty(256), np.empty(256), np.empty(256)
    turn_id, leaves, enters = np.empty(256, np.int64), np.empty(256, np.int64), np.empty(256, np.int64)
    channel_id, rank = np.empty(256, np.int64), np.empty(256, np.int64)
    targets, to_flits, to_packets = np.empty(16, np.int64), np.empty(16), np.empty(16)
    number, turns, channels = 0, 0, 0
    for sender in range(first, last):
        source = rows.source[sender]
        begin, many = number, 0
        for k in range(rows.begin[sender], rows.begin[sender + 1]):
            row = rows.order[k]
            target = rows.target[row]
            if row_of[target] < 0:
                targets, to_flits, to_packets = _room(targets, many), _room(to_flits, many), _room(to_packets, many)
                row_of[target], targets[many], to_flits[many], to_packets[many] = many, target, 0.0, 0.0
                many += 1
            to_flits[row_of[target]] += rows.flits[row]
            to_packets[row_of[target]] += rows.packets[row]
        sent, farthest = 0.0, 0.0
        for k in range(many):
            target = targets[k]
            row_of[target] = -1
            end, at = w.routing.node_router[target], w.routing.node_router[source]
            hops, cycles = 0, s.hop + 2
            while at != end:
                port = port_towards(w.routing, at, target)
                cycles += s.hop + w.delay[at, port] - 1
                hops += 1
                at = w.neighbour[at, port]
            need = number + hops
            turn, before, flits = _room(turn, need), _room(before, need), _room(flits, need)
            packets, inject, zero_load = _room(packets, need), _room(inject, need), _room(zero_load, need)
            need = turns + hops
            turn_id, leaves, enters = _room(turn_id, need), _room(leaves, need), _room(enters, need)
            need = channels + hops + 1
            channel_id, rank = _room(channel_id, need), _room(rank, need)
            length = to_flits[k] / to_packets[k]
            sending = to_packets[k] * inject_cycles(s, length, hops)
            cycles += tail_cycles(s, length)
            sent += sending
            farthest = max(farthest, cycles)
            at, left, previous = w.routing.node_router[source], hops + 1, -1
            into = at * ports + w.routing.node_port[source]
            while True:
                port = port_towards(w.routing, at, target)
                way = into * ports + port
                following = routers * ports + at * ports + port
                if at != end:
                    following = w.neighbour[at, port] * ports + w.neighbour_port[at, port]
                if turn_at[way] < 0:
                    if channel_at[into] < 0:
                        channel_at[into], channel_id[channels], rank[channels] = channels, into, 0
                        channels += 1
                    if channel_at[following] < 0:
                        channel_at[following], channel_id[channels], rank[channels] = channels, following, 0
                        channels += 1
                    turn_at[way], turn_id[turns] = turns, way
                    leaves[turns], enters[turns] = channel_at[into], channel_at[following]
                    turns += 1
                rank[channel_at[into]] = max(rank[channel_at[into]], left)
                share = share_at[way]
                if share < begin:
                    share = number
                    share_at[way] = share
                    turn[share], before[share] = turn_at[way], previous
                    flits[share], packets[share], inject[share], zero_load[share] = 0.0, 0.0, 0.0, 0.0
                    number += 1
                flits[share] += to_flits[k]
                packets[share] += to_packets[k]
                inject[share] += sending
                zero_load[share] += cycles * to_flits[k]
                if at == end:
                    break
                previous, into, at, left = share, following, w.neighbour[at, port], left - 1
        shares[sender - first + 1] = number
        at = w.routing.node_router[source]
        injection[sender - first] = channel_at[at * ports + w.routing.node_port[source]]
        alone[sender - first], tail[sender - first] = sent, farthest

    # Turns in order of the channel they leave.
    starts = np.zeros(channels + 1, np.int64)
    for k in range(turns):
        starts[leaves[k] + 1] += 1
    starts = np.cumsum(starts)
    place, free = np.empty(turns, np.int64), starts[:-1].copy()
    for k in range(turns):
        place[k] = free[leaves[k]]
        free[leaves[k]] += 1
    from_channel, to_channel, occupied = np.empty(turns, np.int64), np.empty(turns, np.int64), np.zeros(turns)
    for k in range(turns):
        from_channel[place[k]], to_channel[place[k]] = leaves[k], enters[k]
    work, busy = np.empty(number), np.zeros(turns)
    for source in range(sources):
        through, slowest, all_flits, all_packets = 0.0, 0.0, 0.0, 0.0
        for k in range(shares[source], shares[source + 1]):
            way = turn_id[turn[k]]
            router, port = way // ports // ports, way % ports
            to_node = w.neighbour[router, port] < 0
            delay, interval = (1, 1) if to_node else (w.delay[router, port], w.interval[router, port])
            work[k] = link_cycles(s, flits[k], packets[k], inject[k], delay, interval, to_node)
            turn[k] = place[turn[k]]
            occupied[turn[k]] += input_cycles(s, flits[k], packets[k])
            busy[turn[k]] += work[k]
            slowest = max(slowest, work[k])
            if before[k] < 0:
                through += input_cycles(s, flits[k], packets[k])
                all_flits += flits[k]
                all_packets += packets[k]
        sending = source_cycles(s, all_flits, all_packets, alone[source])
        alone[source] = max(sending, max(through, slowest))
        tail[source] -= alone[source] / all_packets
    for k in range(turns):
        turn_at[turn_id[k]], share_at[turn_id[k]] = -1, -1
        occupied[k] /= busy[k]
    for k in range(channels):
        channel_at[channel_id[k]] = -1
    return Flows(
        shares, turn[:number], before[:number], work, flits[:number], packets[:number], zero_load[:number],
        from_channel, to_channel, occupied, starts, np.argsort(rank[:channels]), injection, alone, tail,
    )  # fmt: skip


@compiled_with_arrays
def may_deadlock(f: Flows) -> bool:
    """Whether channels wait for each other in a circle: something is left when those that wait for none are removed."""
    channels = len(f.order)
    waits_for = f.turns[1:] - f.turns[:-1]
    starts = np.zeros(channels + 1, np.int64)
    for t in range(len(f.enters)):
        starts[f.enters[t] + 1] += 1
    starts = np.cumsum(starts)
    before, place = np.empty(len(f.enters), np.int64), starts[:-1].copy()
    for t in range(len(f.enters)):
        before[place[f.enters[t]]] = f.leaves[t]
        place[f.enters[t]] += 1
    free = np.empty(channels, np.int64)
    many, seen = 0, 0
    for c in range(channels):
        if waits_for[c] == 0:
            free[many] = c
            many += 1
    while seen < many:
        for k in range(starts[free[seen]], starts[free[seen] + 1]):
            waits_for[before[k]] -= 1
            if waits_for[before[k]] == 0:
                free[many] = before[k]
                many += 1
        seen += 1
    return many < channels
