"""The cycle loop of the flit simulator.

A cycle: flits and credits that arrive are taken in; each node injects at most one flit; each router that has
something to do takes its steps. Whatever leaves a router or a node goes into a wheel of coming cycles, so routers
never see each other's present and their order does not matter. Routers without work are not visited and
cycles in which nothing happens are skipped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ..compiled import compiled, inlined
from .allocators import first_from
from .arrivals import ACTIVE_ROUTERS, EVENTS, take_credit, take_flit
from .state import ROUTER, Layout, Settings
from .step import schedule_credit, schedule_flit, step_router, steps_before

DONE, DEADLOCK = 0, 1


@inlined
def inject(
    s: Settings,
    at: Layout,
    m: np.ndarray,
    v: np.ndarray,
    node: int,
    flit: int,
    sent: int,
    length: int,
    vc: int,
    time: int,
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
    m[at.node_occupied + (node << s.vc_bits) + vc] += 1
    if m[at.node_occupied + (node << s.vc_bits) + vc] == s.depth:
        m[at.node_credit + node] &= ~(1 << vc)
    if tail and not s.wait_for_tail_credit:
        m[at.node_free + node] |= 1 << vc
    flit += (2 if tail else 0) + (1 if sent == 0 else 0)
    schedule_flit(s, at, m, time + 2, flit, (m[at.node_input + node] << s.vc_bits) + vc)
    return vc


@inlined
def cycles(
    s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, table: np.ndarray, targets: np.ndarray,
    times: np.ndarray, sources: np.ndarray, lengths: np.ndarray,
    injected: np.ndarray, ejected: np.ndarray, following: np.ndarray, patience: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Simulate packets sorted by creation time until the last tail is out.

    Writes the cycles in which each packet's head is injected and its tail ejected. `following` is scratch, one entry
    per packet: the next packet in the queue of the same node, -1 at first. `patience` is the number of cycles without
    any movement after which the network counts as deadlocked; it must exceed every delay in it. Returns (DONE or
    DEADLOCK, the cycle reached, the packets left).
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
                take_flit(s, at, m, v, table, targets, to, flit, time, steps_before(s, time))
            else:
                if flit & 2:
                    ejected[flit >> 2] = time
                    left -= 1
                schedule_credit(s, at, m, time + 2 + s.credit_delay, -1 - to)
        for k in range(m[at.credits_due + slot]):
            to = m[at.credit_to + slot * s.slot * s.input_speedup + k]
            if to >= 0:
                take_credit(s, at, m, v, to)
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
            packet, sent = m[at.node_packet + node], m[at.node_sent + node]
            flit = packet * 4
            vc = inject(s, at, m, v, node, flit, sent, lengths[packet], m[at.node_on_vc + node], time)
            if vc >= 0:
                moved = time
                if sent == 0:
                    injected[packet] = time
                m[at.node_on_vc + node] = vc
                m[at.node_sent + node] = sent + 1
                if sent + 1 == lengths[packet]:
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
                if step_router(s, at, m, v, table, targets, router, time, step):
                    m[at.active + kept] = router
                    kept += 1
                else:
                    m[at.is_active + router * ROUTER] = 0
            m[at.counters + ACTIVE_ROUTERS] = kept
        time += 1
    return DONE, time - 1, left


def loop(s: Settings) -> Callable[..., tuple[int, int, int]]:
    """`cycles`, compiled for these settings: those of usual routers have one kernel each, all others share one."""
    usual = _usual(s, s.routing_delay, s.speculative)
    known = s.routing_delay <= 1 and usual == s
    return _compiled_loop(known, s.routing_delay if known else 0, s.speculative if known else False)


def _usual(s: Settings, routing_delay: int, speculative: bool) -> Settings:
    """Settings with what is the same in usual routers as constants, which the compiler can then work with."""
    return Settings(
        s.nodes, s.ports, s.vcs, 1, s.depth, routing_delay, 1, 1, 1, s.credit_delay, speculative, 1, 1, 1.0,
        False, False, False, s.wheel, s.port_bits, s.vc_bits, s.slot,
    )  # fmt: skip


_usual_compiled = inlined(_usual)


@functools.cache
def _compiled_loop(known: bool, routing_delay: int, speculative: bool) -> Callable[..., tuple[int, int, int]]:
    kind = known, routing_delay, speculative  # constants for the compiler, as part of the closure

    @compiled
    def run(
        s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, table: np.ndarray, targets: np.ndarray,
        times: np.ndarray, sources: np.ndarray, lengths: np.ndarray,
        injected: np.ndarray, ejected: np.ndarray, following: np.ndarray, patience: int,
    ) -> tuple[int, int, int]:  # fmt: skip
        if kind[0]:
            s = _usual_compiled(s, kind[1], kind[2])
        return cycles(s, at, m, v, table, targets, times, sources, lengths, injected, ejected, following, patience)

    return run
