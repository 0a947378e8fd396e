"""Memory of the flit simulator: one array of int64 and one of int32, and where in them everything lies.

Few arrays because numba passes an array in seven machine words and counts references to it: fifty arrays
made the simulator twenty times slower. `m[at.free + port]` reads "the free VCs of that port". What exists once per VC
lies in the small array `v`, or the largest networks would outgrow the cache; all else in `m`.

Indices are bit fields, so that no division is needed to take them apart: input or output port p of router r is
`(r << port_bits) + p`, its VC c is `(port << vc_bits) + c`. Sets of VCs and of ports are bit masks. A flit is
`packet * 4 + 2 * is_tail + is_head`. The routing table holds `port + 64 * (VC class + 1)`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ChipError

IDLE, ROUTING, WAITING, ACTIVE = range(4)
"""What the packet at the front of an input VC does: nothing there, being routed, waits for a VC, holds one."""

MASK_BITS = 62
"""Widest set an int64 mask holds, with room for the sign and for one shift."""


class Memory(NamedTuple):
    m: NDArray[np.int64]
    v: NDArray[np.int32]


class Settings(NamedTuple):
    """The router's parameters, and the sizes derived from them. Delays in cycles, depth in flits."""

    nodes: int
    ports: int
    vcs: int
    vc_classes: int
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
    narrow: bool
    """whether some link takes more than one cycle per flit"""
    wheel: int
    """slots of the wheel of coming cycles, a power of two"""
    port_bits: int
    vc_bits: int
    """bits that hold a port number of a router, a VC number"""
    slot: int
    """flits that can arrive in one cycle"""


class Layout(NamedTuple):
    """Where each field begins. Field f of record i is at `at.f + i * words of the record`."""

    # Input VCs, IN_VC words apart: phase, output port and output VC of the packet in front; front and length of the
    # ring buffer of flits; where the VC allocator's accept begins; the VC just won, or -1; the class of VCs that the
    # packet may take, if there are several.
    phase: int
    out_port: int
    out_vc: int
    front: int
    filled: int
    vc_accept_from: int
    won: int
    vc_class: int
    # Output VCs, OUT_VC words apart, seen from the upstream router: the input VC that sends on it; flits sent but not
    # yet credited; where the VC allocator's grant begins.
    owner: int
    occupied: int
    vc_grant_from: int
    # Output ports, PORT words apart: masks of the VCs that can be allocated and of those with a credit left, of the
    # input ports with requests for a VC and for the switch; the input port at the other end, -1 for a node; cycles
    # until a flit is read there; flits that left; last cycle in which one did.
    free: int
    credit: int
    vc_inputs: int
    switch_inputs: int
    down: int
    flit_delay: int
    link_flits: int
    last_departure: int
    # Input ports, in the second cache line of the same records: the output port at the other end, or -1 - node; cycles
    # until a credit counts there; masks of the VCs to route and being routed; cycles that flits have spent in the
    # buffers, as the sum of their departures less that of their arrivals; cycle and step of the last credit. And of
    # the output port, for want of room: cycles between two flits.
    up: int
    credit_back: int
    route_pending: int
    route_busy: int
    waited: int
    last_credit: int
    last_credit_step: int
    interval: int
    # Routers, ROUTER words apart: masks of the outputs asked for a VC and for the switch; input VCs that hold a VC and
    # a flit, with or without credit; masks of the ports with VCs to route and being routed; the cycle in which the
    # batch in each stage is done, or -1, and its winners; the step in which VCs were allocated last, and
    # in which the open batch enters the crossbar; whether the router is on the list of those with something to do.
    vc_outputs: int
    switch_outputs: int
    switch_waiting: int
    route_ports: int
    route_busy_ports: int
    route_done: int
    vc_done: int
    vc_won: int
    vc_step: int
    switch_done: int
    switch_won: int
    crossbar_step: int
    is_active: int
    # Masks of the input VCs that request, per (output port, input port).
    vc_request: int
    switch_request: int
    # Places of the input VCs in the queues for a route, for a VC and for the switch, with output speedup.
    route_place: int
    vc_place: int
    switch_place: int
    # Flits in the buffers of the input VCs, `depth` words apart.
    buffer: int
    # Round-robin pointers of the switch allocator per crossbar output and input, and of an input's choice of VC.
    switch_grant_from: int
    switch_accept_from: int
    switch_vc_from: int
    # Input VCs that have won an output VC or the switch, per router.
    vc_winner: int
    switch_winner: int
    # Nodes: the input port injected into; like output ports and output VCs; the VC taken last; the packet being sent,
    # how many of its flits are, on which VC; the last packet in the queue. The nodes that have a packet.
    node_input: int
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
    counters: int
    # Scratch of the allocators.
    requesters: int
    offer: int
    granted: int
    granted_input: int
    granted_vc: int
    accepted: int
    accepted_output: int


IN_VC, OUT_VC, PORT, ROUTER = 8, 4, 16, 16
"""Words of a record; what is used together lies in one cache line or two."""

_RECORDS = {"phase": IN_VC, "owner": OUT_VC, "free": PORT, "vc_outputs": ROUTER}
"""First field of each kind of record, in the order of Layout."""

_MINUS_ONE = (
    "owner down won last_departure last_credit last_credit_step "
    "route_done vc_done vc_step switch_done crossbar_step node_last_vc node_packet"
).split()


MOST_BYTES = 1 << 33
"""of memory that one simulation may take"""


def _aligned(size: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Zeros that begin at a cache line, so that no record lies in one line more than it must."""
    line = 64 // kind.itemsize
    raw = np.zeros(size + line, kind)
    begin = -(raw.ctypes.data // kind.itemsize) % line
    return raw[begin : begin + size]


def lay_out(s: Settings, routers: int) -> tuple[Layout, Memory]:
    """The empty network: every VC free, every credit at home, every round-robin pointer at its first entry.

    The wires are left to be filled in: down, flit_delay, interval, up, credit_back, node_input. Raises ChipError for
    more than `MOST_BYTES`.
    """
    ports = routers << s.port_bits
    vcs = ports << s.vc_bits
    inputs, outputs = s.ports * s.input_speedup, s.ports * s.output_speedup
    records = {"phase": vcs, "owner": vcs, "free": ports, "vc_outputs": routers}
    sizes = {
        **dict.fromkeys(("vc_request", "switch_request"), ports << s.port_bits),
        **dict.fromkeys(("route_place", "vc_place", "switch_place"), vcs if s.output_speedup > 1 else 0),
        "buffer": vcs * s.depth,
        "switch_grant_from": routers * outputs,
        **dict.fromkeys(("switch_accept_from", "switch_vc_from", "switch_winner"), routers * inputs),
        "vc_winner": vcs,
        **dict.fromkeys((name for name in Layout._fields if name.startswith("node_")), s.nodes),
        "node_occupied": s.nodes << s.vc_bits,
        **dict.fromkeys(("flits_due", "credits_due"), s.wheel),
        **dict.fromkeys(("flit_due", "flit_to"), s.wheel * s.slot),
        "credit_to": s.wheel * s.slot * s.input_speedup,
        "active": routers,
        "counters": 2,
        **dict.fromkeys(("requesters", "offer"), s.ports << s.vc_bits),
        **dict.fromkeys(("granted", "granted_input", "granted_vc", "accepted", "accepted_output"), inputs + outputs),
    }
    ends = {"m": 0, "v": 0}
    where: dict[str, tuple[str, int, int, int]] = {}  # array, begin, stride, number
    record = ("m", 0, 0, 0)
    for name in Layout._fields:
        array = "v" if name in ("phase", "owner", "buffer") else "m"
        if name in sizes:
            where[name] = (array, ends[array], 1, sizes[name])
            ends[array] += sizes[name]
            continue
        if name in records:
            record = (array, ends[array], _RECORDS[name], records[name])
            ends[array] += record[2] * record[3]
        where[name] = record
        record = (record[0], record[1] + 1, *record[2:])
    if 8 * ends["m"] + 4 * ends["v"] > MOST_BYTES:
        buffers, wheel = 4 * sizes["buffer"], 8 * s.wheel * s.slot * (2 + s.input_speedup)
        cause = (
            f"{routers} routers with {s.vcs} VCs of {s.depth} flits need {buffers / 1e9:.2g} GB of buffers. Lower "
            "vc_buf_size or num_vcs"
            if buffers > wheel
            else f"delays of links or credits, or cycles per flit, up to {s.wheel} cycles need {wheel / 1e9:.2g} GB. "
            "Lower the longest"
        )
        raise ChipError(f"{cause}: a simulation may take {MOST_BYTES / 1e9:.2g} GB.")
    memory = Memory(_aligned(ends["m"], np.dtype(np.int64)), _aligned(ends["v"], np.dtype(np.int32)))

    def fill(name: str, value: int | NDArray[np.int64]) -> None:
        array, begin, stride, number = where[name]
        getattr(memory, array)[begin : begin + stride * number : stride] = value

    for name in ("free", "credit", "node_free", "node_credit"):
        fill(name, (1 << s.vcs) - 1)
    for name in _MINUS_ONE:
        fill(name, -1)
    # Among the VCs of a crossbar input the first is the input's own number.
    fill("switch_vc_from", np.arange(routers * inputs) % s.input_speedup)
    return Layout(**{name: begin for name, (_, begin, _, _) in where.items()}), memory
