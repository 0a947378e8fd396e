"""The cycle loop of the flit simulator.

A cycle: flits and credits that arrive are taken in; each node injects at most one flit; each router that has
something to do takes its stages, first all decisions on the state as it was, then all their effects. Whatever
leaves a router goes into a wheel of coming cycles, so routers never see each other's present and their order
does not matter. Routers without work are not visited and cycles in which nothing happens are skipped.

A stage of more than one cycle works in batches, as in BookSim2: what comes while a batch is in it waits for its end.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from cannon_fx.hw.sim_allocators import INLINED, allocate_switch, allocate_vcs, confirm_switch, first_from, lowest
from cannon_fx.hw.sim_state import ACTIVE, IDLE, IN_VC, OUT_VC, PORT, ROUTER, ROUTING, WAITING, Layout, Settings

DONE, DEADLOCK = 0, 1
ACTIVE_ROUTERS, EVENTS = 0, 1


@njit(**INLINED)
def wake(at: Layout, m: np.ndarray, router: int) -> None:
    if m[at.is_active + router * ROUTER] == 0:
        m[at.is_active + router * ROUTER] = 1
        m[at.active + m[at.counters + ACTIVE_ROUTERS]] = router
        m[at.counters + ACTIVE_ROUTERS] += 1


@njit(**INLINED)
def request_switch(s: Settings, at: Layout, m: np.ndarray, vc: int) -> None:
    """An input VC that holds an output VC, a flit and a credit asks for the crossbar."""
    port = vc >> s.vc_bits
    router = (port >> s.port_bits)
    q = m[at.out_port + vc * IN_VC]
    out = (router << s.port_bits) + q
    p = port - (router << s.port_bits)
    m[at.switch_request + (out << s.port_bits) + p] |= 1 << (vc - (port << s.vc_bits))
    m[at.switch_inputs + out * PORT] |= 1 << p
    m[at.switch_outputs + router * ROUTER] |= 1 << q


@njit(**INLINED)
def withdraw(requests: int, inputs: int, outputs: int, s: Settings, m: np.ndarray, vc: int, q: int) -> None:
    """Take an input VC out of the requests for output port q of its router."""
    port = vc >> s.vc_bits
    router = (port >> s.port_bits)
    out = (router << s.port_bits) + q
    p = port - (router << s.port_bits)
    m[requests + (out << s.port_bits) + p] &= ~(1 << (vc - (port << s.vc_bits)))
    if m[requests + (out << s.port_bits) + p] == 0:
        m[inputs + out * PORT] &= ~(1 << p)
        if m[inputs + out * PORT] == 0:
            m[outputs + router * ROUTER] &= ~(1 << q)


@njit(**INLINED)
def request_vc(s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, vc: int, target: int) -> None:
    """The packet at the front of an input VC knows its output port and asks for a VC there."""
    port = vc >> s.vc_bits
    router = (port >> s.port_bits)
    q = next_port[router, target]
    out = (router << s.port_bits) + q
    p = port - (router << s.port_bits)
    m[at.phase + vc * IN_VC] = WAITING
    m[at.out_port + vc * IN_VC] = q
    m[at.vc_request + (out << s.port_bits) + p] |= 1 << (vc - (port << s.vc_bits))
    m[at.vc_inputs + out * PORT] |= 1 << p
    m[at.vc_outputs + router * ROUTER] |= 1 << q


@njit(**INLINED)
def begin_packet(s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, vc: int, targets: np.ndarray) -> None:
    """A head flit has come to the front: route it, unless the previous router has done so (lookahead)."""
    if s.routing_delay == 0:
        flit = m[at.buffer + vc * s.depth + m[at.front + vc * IN_VC]]
        request_vc(s, at, m, next_port, vc, targets[flit >> 2])
    else:
        port = vc >> s.vc_bits
        m[at.phase + vc * IN_VC] = ROUTING
        m[at.route_pending + port * PORT] |= 1 << (vc - (port << s.vc_bits))
        router = port >> s.port_bits
        m[at.route_ports + router * ROUTER] |= 1 << (port - (router << s.port_bits))


@njit(**INLINED)
def take_flit(s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, vc: int, flit: int, targets: np.ndarray) -> None:
    """A flit arrives at an input VC."""
    place = m[at.front + vc * IN_VC] + m[at.count + vc * IN_VC]
    if place >= s.depth:
        place -= s.depth
    m[at.buffer + vc * s.depth + place] = flit
    m[at.count + vc * IN_VC] += 1
    router = vc >> (s.vc_bits + s.port_bits)
    if m[at.phase + vc * IN_VC] == IDLE:
        begin_packet(s, at, m, next_port, vc, targets)
        wake(at, m, router)
    elif m[at.phase + vc * IN_VC] == ACTIVE and m[at.count + vc * IN_VC] == 1:
        m[at.switch_waiting + router * ROUTER] += 1
        if (m[at.credit + ((router << s.port_bits) + m[at.out_port + vc * IN_VC]) * PORT] >> m[at.out_vc + vc * IN_VC]) & 1:
            request_switch(s, at, m, vc)
            wake(at, m, router)


@njit(**INLINED)
def take_credit(s: Settings, at: Layout, m: np.ndarray, out_vc: int) -> None:
    """A credit arrives at an output VC: its packet may ask for the crossbar again."""
    port = out_vc >> s.vc_bits
    bit = 1 << (out_vc - (port << s.vc_bits))
    m[at.credit + port * PORT] |= bit
    m[at.occupied + out_vc * OUT_VC] -= 1
    vc = m[at.owner + out_vc * OUT_VC]
    if vc >= 0:
        if m[at.count + vc * IN_VC] > 0:
            request_switch(s, at, m, vc)
            wake(at, m, (port >> s.port_bits))
    elif s.wait_for_tail_credit and m[at.occupied + out_vc * OUT_VC] == 0:
        m[at.free + port * PORT] |= bit
        wake(at, m, (port >> s.port_bits))


@njit(**INLINED)
def schedule_flit(s: Settings, at: Layout, m: np.ndarray, time: int, flit: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = m[at.flits_due + slot]
    m[at.flit_due + slot * s.slot + k] = flit
    m[at.flit_to + slot * s.slot + k] = to
    m[at.flits_due + slot] = k + 1
    m[at.counters + EVENTS] += 1


@njit(**INLINED)
def schedule_credit(s: Settings, at: Layout, m: np.ndarray, time: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = m[at.credits_due + slot]
    m[at.credit_to + slot * s.slot * s.input_speedup + k] = to
    m[at.credits_due + slot] = k + 1
    m[at.counters + EVENTS] += 1


@njit(**INLINED)
def steps_before(s: Settings, time: int) -> int:
    """Internal steps of a router before cycle `time`; internal speedup makes them more than the cycles."""
    return time if s.internal_speedup == 1.0 else int(math.floor(time * s.internal_speedup + 1e-9))


@njit(**INLINED)
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


@njit(**INLINED)
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


@njit(**INLINED)
def send(s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, router: int, vc: int, time: int, step: int, targets: np.ndarray) -> None:
    """The front flit of an input VC leaves through the crossbar; its slot's credit goes back."""
    port = vc >> s.vc_bits
    out = (router << s.port_bits) + m[at.out_port + vc * IN_VC]
    chosen = m[at.out_vc + vc * IN_VC]
    out_vc = (out << s.vc_bits) + chosen
    flit = m[at.buffer + vc * s.depth + m[at.front + vc * IN_VC]]
    m[at.front + vc * IN_VC] = m[at.front + vc * IN_VC] + 1 if m[at.front + vc * IN_VC] + 1 < s.depth else 0
    m[at.count + vc * IN_VC] -= 1
    m[at.occupied + out_vc * OUT_VC] += 1
    full = m[at.occupied + out_vc * OUT_VC] == s.depth
    if full:
        m[at.credit + out * PORT] &= ~(1 << chosen)

    leaves = max(crossed(s, at, m, router, step), m[at.last_departure + out * PORT] + 1)
    m[at.last_departure + out * PORT] = leaves
    m[at.link_flits + out * PORT] += 1
    down = m[at.down + out * PORT]
    schedule_flit(s, at, m, leaves + m[at.flit_delay + out * PORT], flit, (down << s.vc_bits) + chosen if down >= 0 else -1 - out_vc)

    # One credit message per input port and cycle; what one step frees goes into one message.
    if m[at.last_credit_step + port * PORT] != step:
        m[at.last_credit_step + port * PORT] = step
        m[at.last_credit + port * PORT] = max(time, m[at.last_credit + port * PORT] + 1)
    up = m[at.up + port * PORT]
    c = vc - (port << s.vc_bits)
    back = (up << s.vc_bits) + c if up >= 0 else -1 - (((-1 - up) << s.vc_bits) + c)
    schedule_credit(s, at, m, m[at.last_credit + port * PORT] + m[at.credit_back + port * PORT], back)

    if flit & 2:
        m[at.owner + out_vc * OUT_VC] = -1
        if not s.wait_for_tail_credit:
            m[at.free + out * PORT] |= 1 << chosen
        withdraw(at.switch_request, at.switch_inputs, at.switch_outputs, s, m, vc, m[at.out_port + vc * IN_VC])
        m[at.switch_waiting + router * ROUTER] -= 1
        if m[at.count + vc * IN_VC] > 0:
            begin_packet(s, at, m, next_port, vc, targets)
        else:
            m[at.phase + vc * IN_VC] = IDLE
    elif m[at.count + vc * IN_VC] == 0 or full:
        withdraw(at.switch_request, at.switch_inputs, at.switch_outputs, s, m, vc, m[at.out_port + vc * IN_VC])
        if m[at.count + vc * IN_VC] == 0:
            m[at.switch_waiting + router * ROUTER] -= 1


@njit(**INLINED)
def step_router(
    s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, router: int, time: int, step: int, targets: np.ndarray
) -> bool:  # fmt: skip
    """One internal step of a router. Returns whether it has something to do in the next."""
    first = (router << s.port_bits)
    # Decisions, on the state as it was.
    if m[at.route_done + router * ROUTER] < 0 and m[at.route_ports + router * ROUTER] != 0:
        ports = m[at.route_ports + router * ROUTER]
        while ports != 0:
            port = first + lowest(ports)
            ports &= ports - 1
            m[at.route_busy + port * PORT] = m[at.route_pending + port * PORT]
            m[at.route_pending + port * PORT] = 0
        m[at.route_busy_ports + router * ROUTER] = m[at.route_ports + router * ROUTER]
        m[at.route_ports + router * ROUTER] = 0
        m[at.route_done + router * ROUTER] = time + s.routing_delay - 1
    if m[at.vc_done + router * ROUTER] < 0 and m[at.vc_outputs + router * ROUTER] != 0:
        allocate_vcs(s, at, m, router, step)
        m[at.vc_done + router * ROUTER] = time + s.vc_delay - 1
    batch = s.switch_delay > 1 and m[at.switch_waiting + router * ROUTER] > 0
    if m[at.switch_done + router * ROUTER] < 0 and (
        m[at.switch_outputs + router * ROUTER] != 0 or batch or (s.speculative and m[at.vc_outputs + router * ROUTER] != 0)
    ):
        allocate_switch(s, at, m, router)
        m[at.switch_done + router * ROUTER] = time + s.switch_delay - 1
    if m[at.switch_done + router * ROUTER] >= 0 and time >= m[at.switch_done + router * ROUTER]:
        if s.speculative or s.switch_delay > 1:
            confirm_switch(s, at, m, router, step)
    # Their effects.
    if m[at.route_done + router * ROUTER] >= 0 and time >= m[at.route_done + router * ROUTER]:
        m[at.route_done + router * ROUTER] = -1
        ports = m[at.route_busy_ports + router * ROUTER]
        while ports != 0:
            port = first + lowest(ports)
            ports &= ports - 1
            busy = m[at.route_busy + port * PORT]
            while busy != 0:
                vc = (port << s.vc_bits) + lowest(busy)
                busy &= busy - 1
                request_vc(s, at, m, next_port, vc, targets[m[at.buffer + vc * s.depth + m[at.front + vc * IN_VC]] >> 2])
    if m[at.vc_done + router * ROUTER] >= 0 and time >= m[at.vc_done + router * ROUTER]:
        m[at.vc_done + router * ROUTER] = -1
        for k in range(m[at.vc_won + router * ROUTER]):
            vc = m[at.vc_winner + (first << s.vc_bits) + k]
            q = m[at.out_port + vc * IN_VC]
            chosen = m[at.vc_won_vc + vc * IN_VC]
            m[at.free + (first + q) * PORT] &= ~(1 << chosen)
            m[at.owner + (((first + q) << s.vc_bits) + chosen) * OUT_VC] = vc
            withdraw(at.vc_request, at.vc_inputs, at.vc_outputs, s, m, vc, q)
            m[at.phase + vc * IN_VC] = ACTIVE
            m[at.out_vc + vc * IN_VC] = chosen
            m[at.switch_waiting + router * ROUTER] += 1
            if (m[at.credit + (first + q) * PORT] >> chosen) & 1:
                request_switch(s, at, m, vc)
    if m[at.switch_done + router * ROUTER] >= 0 and time >= m[at.switch_done + router * ROUTER]:
        m[at.switch_done + router * ROUTER] = -1
        for k in range(m[at.switch_won + router * ROUTER]):
            send(s, at, m, next_port, router, m[at.switch_winner + router * s.ports * s.input_speedup + k], time, step, targets)

    if m[at.route_ports + router * ROUTER] != 0 or m[at.route_done + router * ROUTER] >= 0 or m[at.switch_outputs + router * ROUTER] != 0 or m[at.switch_done + router * ROUTER] >= 0:
        return True
    if m[at.vc_done + router * ROUTER] >= 0 or (s.switch_delay > 1 and m[at.switch_waiting + router * ROUTER] > 0):
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


@njit(**INLINED)
def inject(
    s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray, node: int, packet: int, sent: int, length: int, vc: int, time: int
) -> int:
    """Send the next flit of a node's packet if there is room; returns its VC, or -1 if it must wait."""
    if sent == 0:
        usable = m[at.node_free + node] & m[at.node_credit + node]
        last = m[at.node_last_vc + node]
        if last < 0:
            usable &= 1
        if usable == 0:
            return -1
        vc = first_from(usable, last + 1)
        m[at.node_last_vc + node] = vc
        m[at.node_free + node] &= ~(1 << vc)
    elif (m[at.node_credit + node] >> vc) & 1 == 0:
        return -1
    tail = sent + 1 == length
    flit = packet * 4 + (2 if tail else 0) + (1 if sent == 0 else 0)
    m[at.node_occupied + (node << s.vc_bits) + vc] += 1
    if m[at.node_occupied + (node << s.vc_bits) + vc] == s.depth:
        m[at.node_credit + node] &= ~(1 << vc)
    if tail and not s.wait_for_tail_credit:
        m[at.node_free + node] |= 1 << vc
    schedule_flit(s, at, m, time + 2, flit, (m[at.node_input + node] << s.vc_bits) + vc)
    return vc


@njit(cache=True, error_model="numpy", _nrt=False)
def run(
    s: Settings, at: Layout, m: np.ndarray, next_port: np.ndarray,
    times: np.ndarray, sources: np.ndarray, targets: np.ndarray, lengths: np.ndarray, ejected: np.ndarray,
    following: np.ndarray, patience: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Simulate packets sorted by creation time until the last tail is out.

    Writes the cycle in which each packet's tail is ejected to `ejected`. `following` is scratch, one entry per packet: the
    next packet in the queue of the same node, -1 at first. Returns (DONE or DEADLOCK, the cycle
    reached, the packets left). `patience` is the number of cycles without any movement after which
    the network counts as deadlocked; it must exceed every delay in it.
    """
    packets = len(times)
    busy = 0

    left, released, time, moved = packets, 0, 0, 0
    while left > 0:
        if busy == 0 and m[at.counters + ACTIVE_ROUTERS] == 0 and m[at.counters + EVENTS] == 0:
            if released == packets:
                return DEADLOCK, time, left
            time = max(time, times[released])
            moved = time
        if time - moved > patience:
            return DEADLOCK, time, left

        slot = time & (s.wheel - 1)
        due = m[at.flits_due + slot]
        m[at.flits_due + slot] = 0
        m[at.counters + EVENTS] -= due + m[at.credits_due + slot]
        if due + m[at.credits_due + slot] > 0:
            moved = time
        for k in range(due):
            to, flit = m[at.flit_to + slot * s.slot + k], m[at.flit_due + slot * s.slot + k]
            if to >= 0:
                take_flit(s, at, m, next_port, to, flit, targets)
            else:
                if flit & 2:
                    ejected[flit >> 2] = time
                    left -= 1
                schedule_credit(s, at, m, time + 2 + s.credit_delay, -1 - to)
        for k in range(m[at.credits_due + slot]):
            to = m[at.credit_to + slot * s.slot * s.input_speedup + k]
            if to >= 0:
                take_credit(s, at, m, to)
            else:
                node = (-1 - to) >> s.vc_bits
                c = (-1 - to) - (node << s.vc_bits)
                m[at.node_credit + node] |= 1 << c
                m[at.node_occupied + -1 - to] -= 1
                # The owner of a node's VC is the packet that the node is sending.
                sending = m[at.node_packet + node] >= 0 and m[at.node_sent + node] > 0 and m[at.node_on_vc + node] == c
                if s.wait_for_tail_credit and m[at.node_occupied + -1 - to] == 0 and not sending:
                    m[at.node_free + node] |= 1 << c
        m[at.credits_due + slot] = 0

        while released < packets and times[released] <= time:
            node = sources[released]
            if m[at.node_packet + node] < 0:
                m[at.node_packet + node] = released
                m[at.node_busy + busy] = node
                busy += 1
            else:
                following[m[at.node_queue_end + node]] = released
            m[at.node_queue_end + node] = released
            released += 1
        kept = 0
        for k in range(busy):
            node = m[at.node_busy + k]
            packet = m[at.node_packet + node]
            vc = inject(s, at, m, next_port, node, packet, m[at.node_sent + node], lengths[packet], m[at.node_on_vc + node], time)
            if vc >= 0:
                moved = time
                m[at.node_on_vc + node] = vc
                m[at.node_sent + node] += 1
                if m[at.node_sent + node] == lengths[packet]:
                    m[at.node_sent + node] = 0
                    m[at.node_packet + node] = following[packet]
            if m[at.node_packet + node] >= 0:
                m[at.node_busy + kept] = node
                kept += 1
        busy = kept

        for step in range(steps_before(s, time), steps_before(s, time + 1)):
            kept = 0
            for k in range(m[at.counters + ACTIVE_ROUTERS]):
                router = m[at.active + k]
                if step_router(s, at, m, next_port, router, time, step, targets):
                    m[at.active + kept] = router
                    kept += 1
                else:
                    m[at.is_active + router * ROUTER] = 0
            m[at.counters + ACTIVE_ROUTERS] = kept
        time += 1
    return DONE, time - 1, left
