"""Memory of the flit simulator: one int64 array, and where in it everything lies.

One array because numba passes an array in seven machine words and counts references to it: fifty arrays
made the simulator twenty times slower. `m[at.free + port]` reads "the free VCs of that port".

Indices are bit fields, so that no division is needed to take them apart: input or output port p of router r is
`(r << port_bits) + p`, its VC c is `(port << vc_bits) + c`. Sets of VCs and of ports are bit masks. A flit is
`packet * 4 + 2 * is_tail + is_head`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IDLE, ROUTING, WAITING, ACTIVE = range(4)
"""What the packet at the front of an input VC does: nothing there, being routed, waits for a VC, holds one."""

MASK_BITS = 62
"""Widest set an int64 mask holds, with room for the sign and for one shift."""

Memory = NDArray[np.int64]


class Settings(NamedTuple):
    """The router's parameters, and the sizes derived from them. Delays in cycles, depth in flits."""

    nodes: int
    ports: int
    vcs: int
    depth: int
    routing_delay: int
    vc_delay: int
    switch_delay: int
    crossbar_delay: int
    credit_delay: int
    speculative: bool
    input_speedup: int
    output_speedup: int
    internal_speedup: float
    wait_for_tail_credit: bool
    vc_busy_when_full: bool
    wheel: int
    """slots of the wheel of coming cycles, a power of two"""
    port_bits: int
    vc_bits: int
    """bits that hold a port number of a router, a VC number"""
    slot: int
    """flits that can arrive in one cycle"""


class Layout(NamedTuple):
    """Where each part of the memory begins."""

    # Wires, which do not change. Per output port: the input port at the other end, or -1 where a node takes the
    # flits; cycles until it is read there. Per input port: the output port at the other end, or -1 - node; cycles
    # until a credit counts there. Per node: the input port it injects into.
    down: int
    flit_delay: int
    up: int
    credit_back: int
    node_input: int
    # Input VCs: phase, output port and output VC of the packet in front, ring buffer of flits.
    phase: int
    out_port: int
    out_vc: int
    front: int
    count: int
    buffer: int
    # Output VCs, seen from the upstream router: the input VC that sends on it, flits sent but not yet credited.
    owner: int
    occupied: int
    # Output ports: masks of the VCs that can be allocated, and of those with a credit left.
    free: int
    credit: int
    # Requests: masks of input VCs per (output port, input port), of input ports per output port, of outputs per router;
    # and per router the number of input VCs that hold a VC and a flit, with or without a credit.
    vc_request: int
    vc_inputs: int
    vc_outputs: int
    switch_request: int
    switch_inputs: int
    switch_outputs: int
    switch_waiting: int
    # Routing stage: masks of VCs to route and being routed per input port; masks of the ports that have any, and the batch's end, per router.
    route_pending: int
    route_busy: int
    route_ports: int
    route_busy_ports: int
    route_done: int
    # Round-robin pointers: VC allocator (per output VC, per input VC), switch allocator, choice among an input's VCs.
    vc_grant_from: int
    vc_accept_from: int
    switch_grant_from: int
    switch_accept_from: int
    switch_vc_from: int
    # Allocations on their way to completion: when, how many, who. A VC also knows what it won and in which step.
    vc_done: int
    vc_won: int
    vc_winner: int
    vc_won_step: int
    vc_won_vc: int
    switch_done: int
    switch_won: int
    switch_winner: int
    # Crossbar, links, credit wires: the step in which the open batch begins, the last cycle in which each was used.
    crossbar_step: int
    last_departure: int
    last_credit: int
    last_credit_step: int
    link_flits: int
    # Nodes: like output ports and output VCs, and the VC taken last. The packet being sent, how many of its flits are,
    # on which VC; the last packet in the queue. The nodes that have a packet.
    node_free: int
    node_credit: int
    node_occupied: int
    node_last_vc: int
    node_packet: int
    node_sent: int
    node_on_vc: int
    node_queue_end: int
    node_busy: int
    # What arrives in each coming cycle, in a wheel of slots: flits and the VC they go to, credits.
    flits_due: int
    flit_due: int
    flit_to: int
    credits_due: int
    credit_to: int
    # Routers with something to do; and how many they are, and events in the wheel.
    active: int
    is_active: int
    counters: int
    # Scratch of the allocators.
    requesters: int
    offer: int
    granted: int
    granted_input: int
    granted_vc: int
    accepted: int
    accepted_output: int


def lay_out(s: Settings, routers: int) -> tuple[Layout, Memory]:
    """The empty network: every VC free, every credit at home, every round-robin pointer at its first entry.

    The wires are left to be filled in.
    """
    ports = routers << s.port_bits
    vcs = ports << s.vc_bits
    inputs, outputs = s.ports * s.input_speedup, s.ports * s.output_speedup
    sizes = {
        **dict.fromkeys(("down", "flit_delay", "up", "credit_back"), ports),
        **dict.fromkeys(("phase", "out_port", "out_vc", "front", "count", "owner", "occupied"), vcs),
        **dict.fromkeys(("free", "credit", "vc_inputs", "switch_inputs", "route_pending", "route_busy"), ports),
        **dict.fromkeys(("last_departure", "last_credit", "last_credit_step", "link_flits"), ports),
        **dict.fromkeys(("vc_request", "switch_request"), ports << s.port_bits),
        **dict.fromkeys(("vc_outputs", "switch_outputs", "switch_waiting", "route_ports", "route_busy_ports", "route_done"), routers),
        **dict.fromkeys(("vc_grant_from", "vc_accept_from", "vc_winner", "vc_won_step", "vc_won_vc"), vcs),
        **dict.fromkeys(("switch_accept_from", "switch_vc_from", "switch_winner"), routers * inputs),
        **dict.fromkeys(("vc_done", "vc_won", "switch_done", "switch_won", "crossbar_step"), routers),
        **dict.fromkeys(("node_free", "node_credit", "node_last_vc", "node_input", "node_packet"), s.nodes),
        **dict.fromkeys(("node_sent", "node_on_vc", "node_queue_end", "node_busy"), s.nodes),
        **dict.fromkeys(("flits_due", "credits_due"), s.wheel),
        **dict.fromkeys(("flit_due", "flit_to"), s.wheel * s.slot),
        **dict.fromkeys(("active", "is_active"), routers),
        **dict.fromkeys(("requesters", "offer"), s.ports << s.vc_bits),
        **dict.fromkeys(("granted", "granted_input", "granted_vc", "accepted", "accepted_output"), inputs + outputs),
        "buffer": vcs * s.depth,
        "switch_grant_from": routers * outputs,
        "node_occupied": s.nodes << s.vc_bits,
        "credit_to": s.wheel * s.slot * s.input_speedup,
        "counters": 2,
    }
    ends = np.cumsum([sizes[name] for name in Layout._fields])
    at = Layout(*(int(end) - sizes[name] for name, end in zip(Layout._fields, ends, strict=True)))
    memory = np.zeros(int(ends[-1]), np.int64)

    def fill(name: str, value: int | NDArray[np.int64]) -> None:
        begin = getattr(at, name)
        memory[begin : begin + sizes[name]] = value

    for name in ("free", "credit", "node_free", "node_credit"):
        fill(name, (1 << s.vcs) - 1)
    for name in ("down", "owner", "route_done", "vc_won_step", "vc_done", "switch_done", "crossbar_step"):
        fill(name, -1)
    for name in ("last_departure", "last_credit", "last_credit_step", "node_last_vc", "node_packet"):
        fill(name, -1)
    # Among the VCs of a crossbar input the first is the input's own number.
    fill("switch_vc_from", np.arange(routers * inputs) % s.input_speedup)
    return at, memory
