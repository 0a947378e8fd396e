"""What reaches a router of the flit simulator: flits and credits, and the requests to its allocators they lead to."""

from __future__ import annotations

import numpy as np

from ..compiled import inlined
from .state import ACTIVE, IDLE, IN_VC, OUT_VC, PORT, ROUTER, ROUTING, WAITING, Layout, Settings

ACTIVE_ROUTERS, EVENTS = 0, 1
"""Counters in the memory: routers with something to do, flits and credits on their way."""


@inlined
def wake(at: Layout, m: np.ndarray, router: int) -> None:
    if m[at.is_active + router * ROUTER] == 0:
        m[at.is_active + router * ROUTER] = 1
        m[at.active + m[at.counters + ACTIVE_ROUTERS]] = router
        m[at.counters + ACTIVE_ROUTERS] += 1


@inlined
def request_switch(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, vc: int) -> None:
    """An input VC that holds an output VC, a flit and a credit asks for the crossbar."""
    port = vc >> s.vc_bits
    router = port >> s.port_bits
    q = v[at.out_port + vc * IN_VC]
    out = (router << s.port_bits) + q
    p = port - (router << s.port_bits)
    m[at.switch_request + (out << s.port_bits) + p] |= 1 << (vc - (port << s.vc_bits))
    m[at.switch_inputs + out * PORT] |= 1 << p
    m[at.switch_outputs + router * ROUTER] |= 1 << q


@inlined
def withdraw(requests: int, inputs: int, outputs: int, s: Settings, m: np.ndarray, vc: int, q: int) -> None:
    """Take an input VC out of the requests for output port q of its router."""
    port = vc >> s.vc_bits
    router = port >> s.port_bits
    out = (router << s.port_bits) + q
    p = port - (router << s.port_bits)
    m[requests + (out << s.port_bits) + p] &= ~(1 << (vc - (port << s.vc_bits)))
    if m[requests + (out << s.port_bits) + p] == 0:
        m[inputs + out * PORT] &= ~(1 << p)
        if m[inputs + out * PORT] == 0:
            m[outputs + router * ROUTER] &= ~(1 << q)


@inlined
def class_of(s: Settings, c: int) -> int:
    """Class of VC c."""
    vc_class = s.vc_classes - 1
    while vc_class * s.vcs // s.vc_classes > c:
        vc_class -= 1
    return vc_class


@inlined
def request_vc(
    s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, table: np.ndarray, targets: np.ndarray, vc: int
) -> None:
    """Look up the output port of the packet at the front of an input VC, and ask for a VC there."""
    port = vc >> s.vc_bits
    router = port >> s.port_bits
    way = int(table[router, targets[v[at.buffer + vc * s.depth + v[at.front + vc * IN_VC]] >> 2]])
    p = port - (router << s.port_bits)
    q = way & 63
    if s.vc_classes > 1:
        vc_class = (way >> 6) - 1
        if vc_class >= 0 and p == q ^ 1:
            vc_class = class_of(s, vc - (port << s.vc_bits))
        v[at.vc_class + vc * IN_VC] = vc_class
    out = (router << s.port_bits) + q
    v[at.phase + vc * IN_VC] = WAITING
    v[at.out_port + vc * IN_VC] = q
    m[at.vc_request + (out << s.port_bits) + p] |= 1 << (vc - (port << s.vc_bits))
    m[at.vc_inputs + out * PORT] |= 1 << p
    m[at.vc_outputs + router * ROUTER] |= 1 << q


@inlined
def place_of(s: Settings, step: int, index: int) -> int:
    """Place in a router's queue of what joins its end in a step as number `index`; minus a step's, its head.

    The queues decide which of two flits comes first that cross to one output in one step, so places matter with
    output speedup only. Who waits keeps his place. In a step, routed packets and packets that got a VC come first,
    in the order of the queue they leave; then who waits; then packets behind a tail that left; then what arrives.
    """
    return ((step + 1) << (s.port_bits + s.vc_bits + 1)) + index


@inlined
def begin_packet(
    s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, table: np.ndarray, targets: np.ndarray, vc: int, place: int
) -> None:
    """A head flit has come to the front: route it, unless the previous router has done so (lookahead)."""
    if s.routing_delay == 0:
        if s.output_speedup > 1:
            m[at.vc_place + vc] = place
        request_vc(s, at, m, v, table, targets, vc)
    else:
        port = vc >> s.vc_bits
        if s.output_speedup > 1:
            m[at.route_place + vc] = place
        v[at.phase + vc * IN_VC] = ROUTING
        m[at.route_pending + port * PORT] |= 1 << (vc - (port << s.vc_bits))
        router = port >> s.port_bits
        m[at.route_ports + router * ROUTER] |= 1 << (port - (router << s.port_bits))


@inlined
def sort_queue(m: np.ndarray, places: int, first: int, many: int) -> None:
    """Sort the input VCs that begin at `first` by their places."""
    for k in range(1, many):
        vc = m[first + k]
        j = k
        while j > 0 and m[places + m[first + j - 1]] > m[places + vc]:
            m[first + j] = m[first + j - 1]
            j -= 1
        m[first + j] = vc


@inlined
def take_flit(
    s: Settings,
    at: Layout,
    m: np.ndarray,
    v: np.ndarray,
    table: np.ndarray,
    targets: np.ndarray,
    vc: int,
    flit: int,
    time: int,
    step: int,
) -> None:
    """A flit arrives at an input VC."""
    port = vc >> s.vc_bits
    router = port >> s.port_bits
    m[at.waited + port * PORT] -= time
    filled = v[at.filled + vc * IN_VC]
    place = v[at.front + vc * IN_VC] + filled
    if place >= s.depth:
        place -= s.depth
    v[at.buffer + vc * s.depth + place] = flit
    v[at.filled + vc * IN_VC] = filled + 1
    phase = v[at.phase + vc * IN_VC]
    if s.output_speedup > 1 and filled == 0:
        m[at.switch_place + vc] = place_of(s, step, port - (router << s.port_bits))
    if phase == IDLE:
        begin_packet(s, at, m, v, table, targets, vc, place_of(s, step, port - (router << s.port_bits)))
        wake(at, m, router)
    elif phase == ACTIVE and filled == 0:
        m[at.switch_waiting + router * ROUTER] += 1
        out = (router << s.port_bits) + v[at.out_port + vc * IN_VC]
        if (m[at.credit + out * PORT] >> v[at.out_vc + vc * IN_VC]) & 1:
            request_switch(s, at, m, v, vc)
            wake(at, m, router)
        elif s.switch_delay > 1:
            # Without credit it takes part in the next batch all the same, in vain.
            wake(at, m, router)


@inlined
def take_credit(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, out_vc: int) -> None:
    """A credit arrives at an output VC: its packet may ask for the crossbar again."""
    port = out_vc >> s.vc_bits
    bit = 1 << (out_vc - (port << s.vc_bits))
    m[at.credit + port * PORT] |= bit
    v[at.occupied + out_vc * OUT_VC] -= 1
    vc = v[at.owner + out_vc * OUT_VC]
    if vc >= 0:
        if v[at.filled + vc * IN_VC] > 0:
            request_switch(s, at, m, v, vc)
            wake(at, m, (port >> s.port_bits))
    elif s.wait_for_tail_credit and v[at.occupied + out_vc * OUT_VC] == 0:
        m[at.free + port * PORT] |= bit
        wake(at, m, (port >> s.port_bits))
