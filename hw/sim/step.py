"""One internal step of a router of the flit simulator, and what leaves it.

A step takes first all decisions, on the state as it was, then all their effects. A stage of more than one cycle works
in batches, as in BookSim2: what comes while a batch is in it waits for its end.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import inlined, lowest
from .allocators import allocate_switch, allocate_vcs, confirm_switch, switch_winners, vc_winners
from .arrivals import EVENTS, begin_packet, place_of, request_switch, request_vc, sort_queue, withdraw
from .state import ACTIVE, IDLE, IN_VC, OUT_VC, PORT, ROUTER, Layout, Settings


@inlined
def schedule_flit(s: Settings, at: Layout, m: np.ndarray, time: int, flit: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = m[at.flits_due + slot]
    m[at.flit_due + slot * s.slot + k] = flit
    m[at.flit_to + slot * s.slot + k] = to
    m[at.flits_due + slot] = k + 1
    m[at.counters + EVENTS] += 1


@inlined
def schedule_credit(s: Settings, at: Layout, m: np.ndarray, time: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = m[at.credits_due + slot]
    m[at.credit_to + slot * s.slot * s.input_speedup + k] = to
    m[at.credits_due + slot] = k + 1
    m[at.counters + EVENTS] += 1


@inlined
def steps_before(s: Settings, time: int) -> int:
    """Internal steps of a router before cycle `time`; internal speedup makes them more than the cycles."""
    return time if s.internal_speedup == 1.0 else math.floor(time * s.internal_speedup + 1e-9)


@inlined
def time_of(s: Settings, step: int) -> int:
    """Cycle of an internal step."""
    if s.internal_speedup == 1.0:
        return step
    time = int(step / s.internal_speedup)
    while steps_before(s, time + 1) <= step:
        time += 1
    while steps_before(s, time) > step:
        time -= 1
    return time


@inlined
def crossed(s: Settings, at: Layout, m: np.ndarray, router: int, step: int) -> int:
    """Cycle in which a flit that wins the crossbar in this step has passed it; it enters with the next batch."""
    if s.crossbar_delay == 1 and s.internal_speedup == 1.0:
        return step + 1
    begin = m[at.crossbar_step + router * ROUTER]
    if begin <= step:
        end = begin
        if begin >= 0 and s.crossbar_delay > 1:
            end = steps_before(s, time_of(s, begin) + s.crossbar_delay - 1)
        begin = max(step, end) + 1
        m[at.crossbar_step + router * ROUTER] = begin
    return time_of(s, begin) + s.crossbar_delay - 1


@inlined
def send(
    s: Settings,
    at: Layout,
    m: np.ndarray,
    v: np.ndarray,
    table: np.ndarray,
    targets: np.ndarray,
    router: int,
    vc: int,
    time: int,
    step: int,
    turn: int,
) -> None:
    """The front flit of an input VC leaves through the crossbar as the step's `turn`th; its slot's credit goes back."""
    port = vc >> s.vc_bits
    q = v[at.out_port + vc * IN_VC]
    out = (router << s.port_bits) + q
    chosen = v[at.out_vc + vc * IN_VC]
    out_vc = (out << s.vc_bits) + chosen
    front = v[at.front + vc * IN_VC]
    flit = v[at.buffer + vc * s.depth + front]
    v[at.front + vc * IN_VC] = front + 1 if front + 1 < s.depth else 0
    filled = v[at.filled + vc * IN_VC] - 1
    v[at.filled + vc * IN_VC] = filled
    occupied = v[at.occupied + out_vc * OUT_VC] + 1
    v[at.occupied + out_vc * OUT_VC] = occupied
    if occupied == s.depth:
        m[at.credit + out * PORT] &= ~(1 << chosen)
    m[at.waited + port * PORT] += time

    leaves = crossed(s, at, m, router, step)
    fast = s.input_speedup > 1 or s.output_speedup > 1 or s.internal_speedup > 1.0
    if fast or s.narrow or s.crossbar_delay > 1:
        leaves = max(leaves, m[at.last_departure + out * PORT] + m[at.interval + out * PORT])
        m[at.last_departure + out * PORT] = leaves
    m[at.link_flits + out * PORT] += 1
    down = m[at.down + out * PORT]
    to = (down << s.vc_bits) + chosen if down >= 0 else -1 - out_vc
    schedule_flit(s, at, m, leaves + m[at.flit_delay + out * PORT], flit, to)

    # One credit message per input port and cycle; what one step frees goes into one message.
    credit = time
    if fast:
        if m[at.last_credit_step + port * PORT] != step:
            m[at.last_credit_step + port * PORT] = step
            m[at.last_credit + port * PORT] = max(time, m[at.last_credit + port * PORT] + 1)
        credit = m[at.last_credit + port * PORT]
    up = m[at.up + port * PORT]
    c = vc - (port << s.vc_bits)
    back = (up << s.vc_bits) + c if up >= 0 else -1 - (((-1 - up) << s.vc_bits) + c)
    schedule_credit(s, at, m, credit + m[at.credit_back + port * PORT], back)

    if flit & 2:
        v[at.owner + out_vc * OUT_VC] = -1
        if not s.wait_for_tail_credit:
            m[at.free + out * PORT] |= 1 << chosen
        withdraw(at.switch_request, at.switch_inputs, at.switch_outputs, s, m, vc, q)
        m[at.switch_waiting + router * ROUTER] -= 1
        if filled > 0:
            begin_packet(s, at, m, v, table, targets, vc, place_of(s, step, (1 << s.port_bits) + turn))
        else:
            v[at.phase + vc * IN_VC] = IDLE
    elif filled == 0 or occupied == s.depth:
        withdraw(at.switch_request, at.switch_inputs, at.switch_outputs, s, m, vc, q)
        if filled == 0:
            m[at.switch_waiting + router * ROUTER] -= 1


@inlined
def finish_routing(
    s: Settings,
    at: Layout,
    m: np.ndarray,
    v: np.ndarray,
    table: np.ndarray,
    targets: np.ndarray,
    router: int,
    ports: int,
    masks: int,
    step: int,
) -> None:
    """The packets at the front of the VCs in the `masks` of these input ports have been routed."""
    many = 0
    while ports != 0:
        port = (router << s.port_bits) + lowest(ports)
        ports &= ports - 1
        vcs = m[masks + port * PORT]
        m[masks + port * PORT] = 0
        while vcs != 0:
            m[at.requesters + many] = (port << s.vc_bits) + lowest(vcs)
            vcs &= vcs - 1
            many += 1
    if s.output_speedup > 1:
        sort_queue(m, at.route_place, at.requesters, many)
    for k in range(many):
        vc = m[at.requesters + k]
        request_vc(s, at, m, v, table, targets, vc)
        if s.output_speedup > 1:
            m[at.vc_place + vc] = k - place_of(s, step, 0)
            if s.speculative:
                m[at.switch_place + vc] = k - place_of(s, step, 0)


@inlined
def take_vcs(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, step: int) -> None:
    """The winners of the VC allocator get their output VCs."""
    first = router << s.port_bits
    winners = vc_winners(s, at, router)
    if s.output_speedup > 1:
        sort_queue(m, at.vc_place, winners, m[at.vc_won + router * ROUTER])
    for k in range(m[at.vc_won + router * ROUTER]):
        vc = m[winners + k]
        q = v[at.out_port + vc * IN_VC]
        chosen = v[at.won + vc * IN_VC]
        v[at.won + vc * IN_VC] = -1
        m[at.free + (first + q) * PORT] &= ~(1 << chosen)
        v[at.owner + (((first + q) << s.vc_bits) + chosen) * OUT_VC] = vc
        withdraw(at.vc_request, at.vc_inputs, at.vc_outputs, s, m, vc, q)
        v[at.phase + vc * IN_VC] = ACTIVE
        v[at.out_vc + vc * IN_VC] = chosen
        if s.output_speedup > 1 and not s.speculative:
            m[at.switch_place + vc] = k - place_of(s, step, 0)
        m[at.switch_waiting + router * ROUTER] += 1
        if (m[at.credit + (first + q) * PORT] >> chosen) & 1:
            request_switch(s, at, m, v, vc)


@inlined
def step_router(
    s: Settings,
    at: Layout,
    m: np.ndarray,
    v: np.ndarray,
    table: np.ndarray,
    targets: np.ndarray,
    router: int,
    time: int,
    step: int,
) -> bool:
    """One internal step of a router. Returns whether it has something to do in the next."""
    first = router << s.port_bits
    # Decisions, on the state as it was. A stage of one cycle is done with them at once.
    routing = m[at.route_ports + router * ROUTER]
    if s.routing_delay > 1:
        if routing != 0 and m[at.route_done + router * ROUTER] < 0:
            ports = routing
            while ports != 0:
                port = first + lowest(ports)
                ports &= ports - 1
                m[at.route_busy + port * PORT] = m[at.route_pending + port * PORT]
                m[at.route_pending + port * PORT] = 0
            m[at.route_busy_ports + router * ROUTER] = routing
            m[at.route_ports + router * ROUTER] = 0
            m[at.route_done + router * ROUTER] = time + s.routing_delay - 1
        done = m[at.route_done + router * ROUTER]
        routing = m[at.route_busy_ports + router * ROUTER] if 0 <= done <= time else 0
    wanting = m[at.vc_outputs + router * ROUTER] != 0
    taking = wanting and (s.vc_delay == 1 or m[at.vc_done + router * ROUTER] < 0)
    if taking:
        allocate_vcs(s, at, m, v, router, step)
        m[at.vc_done + router * ROUTER] = time + s.vc_delay - 1
    if s.vc_delay > 1:
        taking = 0 <= m[at.vc_done + router * ROUTER] <= time
    crossing = m[at.switch_outputs + router * ROUTER] != 0 or (s.speculative and wanting)
    if s.switch_delay > 1:
        crossing = crossing or m[at.switch_waiting + router * ROUTER] > 0
    if crossing and (s.switch_delay == 1 or m[at.switch_done + router * ROUTER] < 0):
        allocate_switch(s, at, m, v, router, time)
        m[at.switch_done + router * ROUTER] = time + s.switch_delay - 1
    if s.switch_delay > 1:
        crossing = 0 <= m[at.switch_done + router * ROUTER] <= time
    if crossing and (s.speculative or s.switch_delay > 1):
        confirm_switch(s, at, m, v, router, step)
    # Their effects.
    if routing != 0:
        if s.routing_delay > 1:
            m[at.route_done + router * ROUTER] = -1
        else:
            m[at.route_ports + router * ROUTER] = 0
        masks = at.route_busy if s.routing_delay > 1 else at.route_pending
        finish_routing(s, at, m, v, table, targets, router, routing, masks, step)
    if taking:
        m[at.vc_done + router * ROUTER] = -1
        take_vcs(s, at, m, v, router, step)
    if crossing:
        m[at.switch_done + router * ROUTER] = -1
        winners = switch_winners(s, at, router)
        if s.output_speedup > 1:
            sort_queue(m, at.switch_place, winners, m[at.switch_won + router * ROUTER])
        for k in range(m[at.switch_won + router * ROUTER]):
            send(s, at, m, v, table, targets, router, m[winners + k], time, step, k)

    if m[at.route_ports + router * ROUTER] != 0 or m[at.switch_outputs + router * ROUTER] != 0:
        return True
    if s.routing_delay > 1 and m[at.route_done + router * ROUTER] >= 0:
        return True
    if s.vc_delay > 1 and m[at.vc_done + router * ROUTER] >= 0:
        return True
    if s.switch_delay > 1 and (m[at.switch_done + router * ROUTER] >= 0 or m[at.switch_waiting + router * ROUTER] > 0):
        return True
    # Packets that wait for a VC of an output without any do nothing until one comes free, which wakes the router.
    outputs = m[at.vc_outputs + router * ROUTER]
    if s.vc_delay > 1 or s.switch_delay > 1:
        return outputs != 0
    while outputs != 0:
        port = first + lowest(outputs)
        outputs &= outputs - 1
        if m[at.free + port * PORT] != 0:
            return True
    return False
