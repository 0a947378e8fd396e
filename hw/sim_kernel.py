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

from cannon_fx.hw.sim_allocators import allocate_switch, allocate_vcs, confirm_switch, first_from, lowest
from cannon_fx.hw.sim_state import ACTIVE, IDLE, ROUTING, WAITING, Settings, State, Wires

DONE, DEADLOCK = 0, 1
ACTIVE_ROUTERS, EVENTS = 0, 1


@njit(cache=True)
def wake(n: State, router: int) -> None:
    if n.is_active[router] == 0:
        n.is_active[router] = 1
        n.active[n.counters[ACTIVE_ROUTERS]] = router
        n.counters[ACTIVE_ROUTERS] += 1


@njit(cache=True)
def request_switch(s: Settings, n: State, vc: int) -> None:
    """An input VC that holds an output VC, a flit and a credit asks for the crossbar."""
    port = vc // s.vcs
    router = port // s.ports
    q = n.out_port[vc]
    out = router * s.ports + q
    p = port - router * s.ports
    n.switch_request[out * s.ports + p] |= 1 << (vc - port * s.vcs)
    n.switch_inputs[out] |= 1 << p
    n.switch_outputs[router] |= 1 << q


@njit(cache=True)
def withdraw(requests: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, s: Settings, vc: int, q: int) -> None:
    """Take an input VC out of the requests for output port q of its router."""
    port = vc // s.vcs
    router = port // s.ports
    out = router * s.ports + q
    p = port - router * s.ports
    requests[out * s.ports + p] &= ~(1 << (vc - port * s.vcs))
    if requests[out * s.ports + p] == 0:
        inputs[out] &= ~(1 << p)
        if inputs[out] == 0:
            outputs[router] &= ~(1 << q)


@njit(cache=True)
def request_vc(s: Settings, w: Wires, n: State, vc: int, target: int) -> None:
    """The packet at the front of an input VC knows its output port and asks for a VC there."""
    port = vc // s.vcs
    router = port // s.ports
    q = w.next_port[router, target]
    out = router * s.ports + q
    p = port - router * s.ports
    n.phase[vc] = WAITING
    n.out_port[vc] = q
    n.vc_request[out * s.ports + p] |= 1 << (vc - port * s.vcs)
    n.vc_inputs[out] |= 1 << p
    n.vc_outputs[router] |= 1 << q


@njit(cache=True)
def begin_packet(s: Settings, w: Wires, n: State, vc: int, targets: np.ndarray) -> None:
    """A head flit has come to the front: route it, unless the previous router has done so (lookahead)."""
    if s.routing_delay == 0:
        flit = n.buffer[vc * s.depth + n.front[vc]]
        request_vc(s, w, n, vc, targets[flit >> 2])
    else:
        port = vc // s.vcs
        n.phase[vc] = ROUTING
        n.route_pending[port] |= 1 << (vc - port * s.vcs)
        n.route_left[port // s.ports] += 1


@njit(cache=True)
def take_flit(s: Settings, w: Wires, n: State, vc: int, flit: int, targets: np.ndarray) -> None:
    """A flit arrives at an input VC."""
    place = n.front[vc] + n.count[vc]
    if place >= s.depth:
        place -= s.depth
    n.buffer[vc * s.depth + place] = flit
    n.count[vc] += 1
    router = vc // (s.vcs * s.ports)
    if n.phase[vc] == IDLE:
        begin_packet(s, w, n, vc, targets)
        wake(n, router)
    elif n.phase[vc] == ACTIVE and n.count[vc] == 1:
        n.switch_waiting[router] += 1
        if (n.credit[router * s.ports + n.out_port[vc]] >> n.out_vc[vc]) & 1:
            request_switch(s, n, vc)
            wake(n, router)


@njit(cache=True)
def take_credit(s: Settings, n: State, out_vc: int) -> None:
    """A credit arrives at an output VC: its packet may ask for the crossbar again."""
    port = out_vc // s.vcs
    bit = 1 << (out_vc - port * s.vcs)
    n.credit[port] |= bit
    n.occupied[out_vc] -= 1
    vc = n.owner[out_vc]
    if vc >= 0:
        if n.count[vc] > 0:
            request_switch(s, n, vc)
            wake(n, port // s.ports)
    elif s.wait_for_tail_credit and n.occupied[out_vc] == 0:
        n.free[port] |= bit
        wake(n, port // s.ports)


@njit(cache=True)
def schedule_flit(s: Settings, n: State, time: int, flit: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = n.flits_due[slot]
    n.flit_due[slot, k] = flit
    n.flit_to[slot, k] = to
    n.flits_due[slot] = k + 1
    n.counters[EVENTS] += 1


@njit(cache=True)
def schedule_credit(s: Settings, n: State, time: int, to: int) -> None:
    slot = time & (s.wheel - 1)
    k = n.credits_due[slot]
    n.credit_to[slot, k] = to
    n.credits_due[slot] = k + 1
    n.counters[EVENTS] += 1


@njit(cache=True)
def steps_before(s: Settings, time: int) -> int:
    """Internal steps of a router before cycle `time`; internal speedup makes them more than the cycles."""
    return time if s.internal_speedup == 1.0 else int(math.floor(time * s.internal_speedup + 1e-9))


@njit(cache=True)
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


@njit(cache=True)
def crossed(s: Settings, n: State, router: int, step: int) -> int:
    """Cycle in which a flit that wins the crossbar in this step has passed it; it enters with the next batch."""
    begin = n.crossbar_step[router]
    if begin <= step:
        end = begin
        if begin >= 0 and s.crossbar_delay > 1:
            end = steps_before(s, time_of(s, begin) + s.crossbar_delay - 1)
        begin = max(step, end) + 1
        n.crossbar_step[router] = begin
    return time_of(s, begin) + s.crossbar_delay - 1


@njit(cache=True)
def send(s: Settings, w: Wires, n: State, router: int, vc: int, time: int, step: int, targets: np.ndarray) -> None:
    """The front flit of an input VC leaves through the crossbar; its slot's credit goes back."""
    port = vc // s.vcs
    out = router * s.ports + n.out_port[vc]
    chosen = n.out_vc[vc]
    out_vc = out * s.vcs + chosen
    flit = n.buffer[vc * s.depth + n.front[vc]]
    n.front[vc] = n.front[vc] + 1 if n.front[vc] + 1 < s.depth else 0
    n.count[vc] -= 1
    n.occupied[out_vc] += 1
    full = n.occupied[out_vc] == s.depth
    if full:
        n.credit[out] &= ~(1 << chosen)

    leaves = max(crossed(s, n, router, step), n.last_departure[out] + 1)
    n.last_departure[out] = leaves
    n.link_flits[out] += 1
    down = w.down[out]
    schedule_flit(s, n, leaves + w.flit_delay[out], flit, down * s.vcs + chosen if down >= 0 else -1 - out_vc)

    # One credit message per input port and cycle; what one step frees goes into one message.
    if n.last_credit_step[port] != step:
        n.last_credit_step[port] = step
        n.last_credit[port] = max(time, n.last_credit[port] + 1)
    up = w.up[port]
    c = vc - port * s.vcs
    back = up * s.vcs + c if up >= 0 else -1 - ((-1 - up) * s.vcs + c)
    schedule_credit(s, n, n.last_credit[port] + w.credit_back[port], back)

    if flit & 2:
        n.owner[out_vc] = -1
        if not s.wait_for_tail_credit:
            n.free[out] |= 1 << chosen
        withdraw(n.switch_request, n.switch_inputs, n.switch_outputs, s, vc, n.out_port[vc])
        n.switch_waiting[router] -= 1
        if n.count[vc] > 0:
            begin_packet(s, w, n, vc, targets)
        else:
            n.phase[vc] = IDLE
    elif n.count[vc] == 0 or full:
        withdraw(n.switch_request, n.switch_inputs, n.switch_outputs, s, vc, n.out_port[vc])
        if n.count[vc] == 0:
            n.switch_waiting[router] -= 1


@njit(cache=True)
def step_router(
    s: Settings, w: Wires, n: State, router: int, time: int, step: int, targets: np.ndarray,
    scratch: np.ndarray, requesters: np.ndarray, offer: np.ndarray,
) -> bool:  # fmt: skip
    """One internal step of a router. Returns whether it has something to do in the next."""
    first = router * s.ports
    # Decisions, on the state as it was.
    if n.route_done[router] < 0 and n.route_left[router] > 0:
        for port in range(first, first + s.ports):
            n.route_busy[port] = n.route_pending[port]
            n.route_pending[port] = 0
        n.route_done[router] = time + s.routing_delay - 1
    if n.vc_done[router] < 0 and n.vc_outputs[router] != 0:
        allocate_vcs(s, n, router, step, requesters, offer)
        n.vc_done[router] = time + s.vc_delay - 1
    batch = s.switch_delay > 1 and n.switch_waiting[router] > 0
    if n.switch_done[router] < 0 and (
        n.switch_outputs[router] != 0 or batch or (s.speculative and n.vc_outputs[router] != 0)
    ):
        allocate_switch(s, n, router, scratch)
        n.switch_done[router] = time + s.switch_delay - 1
    if n.switch_done[router] >= 0 and time >= n.switch_done[router]:
        if s.speculative or s.switch_delay > 1:
            confirm_switch(s, n, router, step)
    # Their effects.
    if n.route_done[router] >= 0 and time >= n.route_done[router]:
        n.route_done[router] = -1
        for port in range(first, first + s.ports):
            busy = n.route_busy[port]
            while busy != 0:
                vc = port * s.vcs + lowest(busy)
                busy &= busy - 1
                n.route_left[router] -= 1
                request_vc(s, w, n, vc, targets[n.buffer[vc * s.depth + n.front[vc]] >> 2])
    if n.vc_done[router] >= 0 and time >= n.vc_done[router]:
        n.vc_done[router] = -1
        for k in range(n.vc_won[router]):
            vc = n.vc_winner[first * s.vcs + k]
            q = n.out_port[vc]
            chosen = n.vc_won_vc[vc]
            n.free[first + q] &= ~(1 << chosen)
            n.owner[(first + q) * s.vcs + chosen] = vc
            withdraw(n.vc_request, n.vc_inputs, n.vc_outputs, s, vc, q)
            n.phase[vc] = ACTIVE
            n.out_vc[vc] = chosen
            n.switch_waiting[router] += 1
            if (n.credit[first + q] >> chosen) & 1:
                request_switch(s, n, vc)
    if n.switch_done[router] >= 0 and time >= n.switch_done[router]:
        n.switch_done[router] = -1
        for k in range(n.switch_won[router]):
            send(s, w, n, router, n.switch_winner[first * s.input_speedup + k], time, step, targets)

    if n.route_left[router] > 0 or n.switch_outputs[router] != 0 or n.switch_done[router] >= 0:
        return True
    if n.vc_done[router] >= 0 or (s.switch_delay > 1 and n.switch_waiting[router] > 0):
        return True
    # Packets that wait for a VC of an output without any do nothing until one comes free, which wakes the router.
    outputs = n.vc_outputs[router]
    if s.vc_delay > 1 or s.switch_delay > 1:
        return outputs != 0
    while outputs != 0:
        port = first + lowest(outputs)
        outputs &= outputs - 1
        if n.free[port] != 0:
            return True
    return False


@njit(cache=True)
def inject(
    s: Settings, w: Wires, n: State, node: int, packet: int, sent: int, length: int, vc: int, time: int
) -> int:
    """Send the next flit of a node's packet if there is room; returns its VC, or -1 if it must wait."""
    if sent == 0:
        usable = n.node_free[node] & n.node_credit[node]
        last = n.node_last_vc[node]
        if last < 0:
            usable &= 1
        if usable == 0:
            return -1
        vc = first_from(usable, (last + 1) % s.vcs)
        n.node_last_vc[node] = vc
        n.node_free[node] &= ~(1 << vc)
    elif (n.node_credit[node] >> vc) & 1 == 0:
        return -1
    tail = sent + 1 == length
    flit = packet * 4 + (2 if tail else 0) + (1 if sent == 0 else 0)
    n.node_occupied[node * s.vcs + vc] += 1
    if n.node_occupied[node * s.vcs + vc] == s.depth:
        n.node_credit[node] &= ~(1 << vc)
    if tail and not s.wait_for_tail_credit:
        n.node_free[node] |= 1 << vc
    schedule_flit(s, n, time + 2, flit, w.node_input[node] * s.vcs + vc)
    return vc


@njit(cache=True)
def run(
    s: Settings, w: Wires, n: State,
    times: np.ndarray, sources: np.ndarray, targets: np.ndarray, lengths: np.ndarray, ejected: np.ndarray,
    patience: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Simulate packets sorted by creation time until the last tail is out.

    Writes the cycle in which each packet's tail is ejected to `ejected`. Returns (DONE or DEADLOCK, the cycle
    reached, the packets left). `patience` is the number of cycles without any movement after which
    the network counts as deadlocked; it must exceed every delay in it.
    """
    packets, nodes = len(times), len(w.node_input)
    following = np.full(packets, -1, np.int32)  # next packet in the queue of the same node
    queue_end = np.full(nodes, -1, np.int32)
    current = np.full(nodes, -1, np.int32)
    sent = np.zeros(nodes, np.int32)
    on_vc = np.zeros(nodes, np.int32)
    busy_nodes = np.zeros(nodes, np.int32)
    busy = 0
    scratch = np.zeros((5, s.ports * max(s.input_speedup, s.output_speedup)), np.int64)
    requesters = np.zeros(s.ports * s.vcs, np.int64)
    offer = np.zeros(s.ports * s.vcs, np.int64)

    left, released, time, moved = packets, 0, 0, 0
    while left > 0:
        if busy == 0 and n.counters[ACTIVE_ROUTERS] == 0 and n.counters[EVENTS] == 0:
            if released == packets:
                return DEADLOCK, time, left
            time = max(time, times[released])
            moved = time
        if time - moved > patience:
            return DEADLOCK, time, left

        slot = time & (s.wheel - 1)
        due = n.flits_due[slot]
        n.flits_due[slot] = 0
        n.counters[EVENTS] -= due + n.credits_due[slot]
        if due + n.credits_due[slot] > 0:
            moved = time
        for k in range(due):
            to, flit = n.flit_to[slot, k], n.flit_due[slot, k]
            if to >= 0:
                take_flit(s, w, n, to, flit, targets)
            else:
                if flit & 2:
                    ejected[flit >> 2] = time
                    left -= 1
                schedule_credit(s, n, time + 2 + s.credit_delay, -1 - to)
        for k in range(n.credits_due[slot]):
            to = n.credit_to[slot, k]
            if to >= 0:
                take_credit(s, n, to)
            else:
                node = (-1 - to) // s.vcs
                c = (-1 - to) - node * s.vcs
                n.node_credit[node] |= 1 << c
                n.node_occupied[-1 - to] -= 1
                # The owner of a node's VC is the packet that the node is sending.
                sending = current[node] >= 0 and sent[node] > 0 and on_vc[node] == c
                if s.wait_for_tail_credit and n.node_occupied[-1 - to] == 0 and not sending:
                    n.node_free[node] |= 1 << c
        n.credits_due[slot] = 0

        while released < packets and times[released] <= time:
            node = sources[released]
            if current[node] < 0:
                current[node] = released
                busy_nodes[busy] = node
                busy += 1
            else:
                following[queue_end[node]] = released
            queue_end[node] = released
            released += 1
        kept = 0
        for k in range(busy):
            node = busy_nodes[k]
            packet = current[node]
            vc = inject(s, w, n, node, packet, sent[node], lengths[packet], on_vc[node], time)
            if vc >= 0:
                moved = time
                on_vc[node] = vc
                sent[node] += 1
                if sent[node] == lengths[packet]:
                    sent[node] = 0
                    current[node] = following[packet]
            if current[node] >= 0:
                busy_nodes[kept] = node
                kept += 1
        busy = kept

        for step in range(steps_before(s, time), steps_before(s, time + 1)):
            kept = 0
            for k in range(n.counters[ACTIVE_ROUTERS]):
                router = n.active[k]
                if step_router(s, w, n, router, time, step, targets, scratch, requesters, offer):
                    n.active[kept] = router
                    kept += 1
                else:
                    n.is_active[router] = 0
            n.counters[ACTIVE_ROUTERS] = kept
        time += 1
    return DONE, time - 1, left
