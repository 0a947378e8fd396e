"""State of the flit simulator as flat arrays, which numba passes around as named tuples.

Index conventions, with P ports per router and V virtual channels: input or output port p of router r is
`r * P + p`; its VC c is `(r * P + p) * V + c`. Sets of VCs and of ports are bit masks in int64.
A flit is `packet * 4 + 2 * is_tail + is_head`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IDLE, ROUTING, WAITING, ACTIVE = range(4)
"""What the packet at the front of an input VC does: nothing there, being routed, waits for a VC, holds one."""

MASK_BITS = 62
"""Widest set an int64 mask holds, with room for the sign and for one shift."""

Bytes = NDArray[np.int8]
Words = NDArray[np.int32]
Longs = NDArray[np.int64]


class Settings(NamedTuple):
    """The router's parameters, and the sizes derived from them. Delays in cycles, depth in flits."""

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


class Wires(NamedTuple):
    """Who is connected to whom. A link is named by the output port it leaves from."""

    next_port: Bytes
    """[routers, nodes] output port towards a node"""
    down: Words
    """per output port: input port at its other end, or -1 where a node takes the flits"""
    up: Words
    """per input port: output port at its other end, or -1 - node"""
    flit_delay: Words
    """per output port: cycles from leaving it to being read at the other end"""
    credit_back: Words
    """per input port: cycles from freeing a slot to its credit being counted at the other end"""
    node_input: Words
    """[nodes] input port that a node injects into"""


class State(NamedTuple):
    """Everything that changes from cycle to cycle."""

    # Input VCs
    phase: Bytes
    out_port: Bytes
    out_vc: Bytes
    front: Words
    count: Words
    buffer: Words
    # Output VCs, seen from the upstream router: who sends on it, and flits sent but not yet credited
    owner: Words
    occupied: Words
    # Output ports: VCs that can be allocated, and VCs with a credit left
    free: Longs
    credit: Longs
    # Requests: masks of input VCs per (output port, input port), of input ports per output port, of outputs per router
    vc_request: Longs
    vc_inputs: Longs
    vc_outputs: Longs
    switch_request: Longs
    switch_inputs: Longs
    switch_outputs: Longs
    switch_waiting: Words
    """input VCs per router that hold a VC and a flit, with or without a credit"""
    # Routing stage: VCs to route and VCs being routed, per input port
    route_pending: Longs
    route_busy: Longs
    route_left: Words
    route_done: Longs
    # Round-robin pointers: VC allocator (per output VC, per input VC), switch allocator, VC choice at an input
    vc_grant_from: Words
    vc_accept_from: Words
    switch_grant_from: Words
    switch_accept_from: Words
    switch_vc_from: Words
    # Allocations on their way to completion, per router
    vc_done: Longs
    vc_won: Words
    vc_winner: Words
    vc_won_output: Words
    vc_won_step: Longs
    vc_won_vc: Words
    switch_done: Longs
    switch_won: Words
    switch_winner: Words
    # Crossbar and wires
    crossbar_step: Longs
    last_departure: Longs
    last_credit: Longs
    last_credit_step: Longs
    link_flits: Longs
    # Nodes
    node_free: Longs
    node_credit: Longs
    node_occupied: Words
    node_last_vc: Words
    # What arrives in each coming cycle, in a wheel of slots: flits and the VC they go to, credits
    flits_due: Words
    flit_due: Words
    flit_to: Words
    credits_due: Words
    credit_to: Words
    # Routers with something to do
    active: Words
    is_active: Bytes
    counters: Longs
    """[active routers, events in the wheel]"""


def new_state(s: Settings, routers: int, nodes: int) -> State:
    """The empty network: every VC free, every credit at home, every round-robin pointer at its first entry."""
    ports, vcs = routers * s.ports, routers * s.ports * s.vcs
    inputs, outputs = s.ports * s.input_speedup, s.ports * s.output_speedup
    all_vcs = (1 << s.vcs) - 1

    def words(*shape: int, fill: int = 0) -> Words:
        return np.full(shape, fill, np.int32)

    def longs(*shape: int, fill: int = 0) -> Longs:
        return np.full(shape, fill, np.int64)

    def small(*shape: int) -> Bytes:
        return np.zeros(shape, np.int8)

    return State(
        phase=small(vcs), out_port=small(vcs), out_vc=small(vcs),
        front=words(vcs), count=words(vcs), buffer=words(vcs * s.depth),
        owner=words(vcs, fill=-1), occupied=words(vcs),
        free=longs(ports, fill=all_vcs), credit=longs(ports, fill=all_vcs),
        vc_request=longs(ports * s.ports), vc_inputs=longs(ports), vc_outputs=longs(routers),
        switch_request=longs(ports * s.ports), switch_inputs=longs(ports), switch_outputs=longs(routers),
        switch_waiting=words(routers),
        route_pending=longs(ports), route_busy=longs(ports), route_left=words(routers),
        route_done=longs(routers, fill=-1),
        vc_grant_from=words(vcs), vc_accept_from=words(vcs),
        switch_grant_from=words(routers * outputs), switch_accept_from=words(routers * inputs),
        switch_vc_from=np.tile(np.arange(s.input_speedup, dtype=np.int32), ports),
        vc_done=longs(routers, fill=-1), vc_won=words(routers), vc_winner=words(vcs), vc_won_output=words(vcs),
        vc_won_step=longs(vcs, fill=-1), vc_won_vc=words(vcs),
        switch_done=longs(routers, fill=-1), switch_won=words(routers), switch_winner=words(routers * inputs),
        crossbar_step=longs(routers, fill=-1),
        last_departure=longs(ports, fill=-1), last_credit=longs(ports, fill=-1),
        last_credit_step=longs(ports, fill=-1), link_flits=longs(ports),
        node_free=longs(nodes, fill=all_vcs), node_credit=longs(nodes, fill=all_vcs),
        node_occupied=words(nodes * s.vcs), node_last_vc=words(nodes, fill=-1),
        flits_due=words(s.wheel), flit_due=words(s.wheel, ports + nodes), flit_to=words(s.wheel, ports + nodes),
        credits_due=words(s.wheel), credit_to=words(s.wheel, (ports + nodes) * s.input_speedup),
        active=words(routers), is_active=small(routers), counters=longs(2),
    )  # fmt: skip
