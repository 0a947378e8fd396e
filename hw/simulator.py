"""Flit-level simulation of a network-on-chip: wormhole, virtual channels, credits; deterministic.

The mechanism is that of BookSim2's input-queued router (see docs/noc.md). Every number is `simulated`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Ints
from .errors import ChipError
from .network import Network
from .router import Router
from .sim import kernel
from .sim.state import PORT, Layout, Memory, Settings, lay_out
from .traffic import Packets

MOST_PACKETS = 1 << 29
"""A flit is a packet number and two flags in 32 bits."""

MOST_FLIT_HOPS = 10**10
"""About half an hour."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Outcome of a simulation; cycles count from 0.

    `latency_cycles` int64 [packets]: tail ejection - creation, in the order in which the packets were given.
    `source_wait_cycles` int64 [packets]: the part of it before the head is injected.
    `link_flits` int64 [routers, ports]: flits that left each router through each port.
    `waiting_flit_cycles` int64 [routers, ports]: sum over these flits of the cycles spent in the input buffer at the
    end of the link; for the port of a node, in the buffer behind the node's injection.
    """

    makespan_cycles: int
    """cycle in which the last tail is ejected; 0 without packets"""
    latency_cycles: Ints
    source_wait_cycles: Ints
    link_flits: Ints
    waiting_flit_cycles: Ints
    flits: int
    flit_hops: int
    """flits times links traversed"""
    cycles: int
    """cycles from 0 to the end; idle ones are skipped, not visited"""

    @property
    def mean_packet_latency_cycles(self) -> float:
        return float(self.latency_cycles.mean()) if len(self.latency_cycles) else 0.0


def stall_cycles(found: Simulation, packets: Packets, network: Network, router: Router) -> Ints:
    """Cycles that each packet lost in the network, int64 [packets].

    Its latency without its wait at the source, less what it would be alone; never negative: see
    `Router.alone_cycles`.
    """
    alone = router.alone_cycles(network.ways(packets.source, packets.target), packets.flits)
    return found.latency_cycles - found.source_wait_cycles - alone


def simulate(packets: Packets, network: Network, router: Router) -> Simulation:
    """Send `packets` through `network` and wait for the last one.

    Packets of one source leave in the order of creation, equal times in the given order, one flit per cycle at most.
    Raises ChipError for a source or target outside the network, too few VCs for the network's classes, more
    than `MOST_FLIT_HOPS`, buffers or delays that no memory holds, and when the network deadlocks.
    """
    for name, nodes in (("source", packets.source), ("target", packets.target)):
        outside = (nodes < 0) | (nodes >= network.nodes)
        if outside.any():
            row = int(outside.argmax())
            raise ChipError(
                f"{name} {nodes[row]} of packet {row} lies outside the network, whose nodes are 0 to "
                f"{network.nodes - 1}. Correct the packet or enlarge the network."
            )
    count = len(packets.time)
    if count > MOST_PACKETS:
        raise ChipError(f"{count} packets are too many for one simulation: at most {MOST_PACKETS}. Split the trace.")
    links = network.hops(packets.source, packets.target) + 1.0
    if (many := float((packets.flits * links).sum())) > MOST_FLIT_HOPS:
        raise ChipError(
            f"{many:.2g} flits times links are too many for one simulation: at most {MOST_FLIT_HOPS:.0e}. Send fewer "
            "flits, or use the analytic model."
        )
    if router.num_vcs < network.vc_classes:
        raise ChipError(
            f"{router.num_vcs} VCs cannot be divided into the {network.vc_classes} classes that keep this network free "
            "of deadlock. Raise num_vcs."
        )
    settings = _settings(network, router)
    at, memory = lay_out(settings, network.routers)
    _connect(network, router, at, memory)
    order = np.argsort(packets.time, kind="stable")
    injected, ejected = np.zeros(count, np.int64), np.zeros(count, np.int64)
    patience = _patience(settings)
    outcome, cycle, left = kernel.loop(settings)(
        settings,
        at,
        memory.m,
        memory.v,
        network.next_port + 64 * (network.vc_class.astype(np.int16) + 1),
        packets.target[order],
        packets.time[order],
        packets.source[order],
        packets.flits[order],
        injected,
        ejected,
        np.full(count, -1),
        patience,
    )
    if outcome == kernel.DEADLOCK:
        raise ChipError(
            f"the network is deadlocked at cycle {cycle}: {left} of {count} packets are left and no flit has "
            f"moved for {patience} cycles. Use a routing without cycles (XY on a mesh, or a tree)."
        )
    latency, source_wait = np.empty(count, np.int64), np.empty(count, np.int64)
    latency[order] = ejected - packets.time[order]
    source_wait[order] = injected - packets.time[order]
    linked = network.neighbour >= 0
    link_flits = _per_port(at.link_flits, network, memory).copy()
    waited = _per_port(at.waited, network, memory)
    waiting = waited.copy()
    waiting[linked] = waited[network.neighbour[linked], network.neighbour_port[linked]]
    return Simulation(
        makespan_cycles=int(ejected.max()) if count else 0,
        latency_cycles=latency,
        source_wait_cycles=source_wait,
        link_flits=link_flits,
        waiting_flit_cycles=waiting,
        flits=int(packets.flits.sum()),
        flit_hops=int(link_flits[linked].sum()),
        cycles=cycle,
    )


def _settings(network: Network, router: Router) -> Settings:
    interval = int(network.interval.max())
    delays = 2 * router.crossbar_delay + router.credit_delay + int(network.delay.max()) + interval + 8
    # With speedup more flits can pass the crossbar than a link takes: they queue, as many as have credits.
    fast = router.input_speedup > 1 or router.output_speedup > 1 or router.internal_speedup > 1
    backlog = router.num_vcs * router.vc_buf_size * interval if fast else 0
    return Settings(
        nodes=network.nodes,
        ports=network.ports,
        vcs=router.num_vcs,
        vc_classes=network.vc_classes,
        depth=router.vc_buf_size,
        routing_delay=router.routing_delay,
        vc_delay=router.vc_alloc_delay,
        switch_delay=router.sw_alloc_delay,
        crossbar_delay=router.crossbar_delay,
        credit_delay=router.credit_delay,
        speculative=router.speculative,
        input_speedup=router.input_speedup,
        output_speedup=router.output_speedup,
        internal_speedup=router.internal_speedup,
        wait_for_tail_credit=router.wait_for_tail_credit,
        vc_busy_when_full=router.vc_busy_when_full,
        narrow=interval > 1,
        wheel=1 << (delays + backlog).bit_length(),
        port_bits=(network.ports - 1).bit_length(),
        vc_bits=(router.num_vcs - 1).bit_length(),
        slot=network.routers * network.ports + network.nodes,
    )


def _patience(settings: Settings) -> int:
    """Cycles without an arrival or an injection after which nothing will ever move again."""
    return settings.wheel + 4 * (settings.routing_delay + settings.vc_delay + settings.switch_delay) + 16


def _per_port(begin: int, network: Network, memory: Memory) -> Ints:
    """The part of the memory that holds one entry per port, as [routers, ports]."""
    stride = 1 << (network.ports - 1).bit_length()
    part = memory.m[begin : begin + network.routers * stride * PORT : PORT]
    return part.reshape(network.routers, stride)[:, : network.ports]


def _connect(network: Network, router: Router, at: Layout, memory: Memory) -> None:
    """Write the wires into the memory."""
    stride = 1 << (network.ports - 1).bit_length()
    here = np.arange(network.routers * stride).reshape(network.routers, stride)[:, : network.ports]
    linked = network.neighbour >= 0
    far = network.neighbour[linked], network.neighbour_port[linked]
    nodes = np.arange(network.nodes)
    hangs = network.node_router, network.next_port[network.node_router, nodes]
    _per_port(at.down, network, memory)[linked] = here[far]
    up = _per_port(at.up, network, memory)
    up[far] = here[linked]
    up[hangs] = -1 - nodes
    # What leaves in one cycle is on the wire from the next on. Wires to and from nodes take one cycle.
    _per_port(at.flit_delay, network, memory)[:] = np.where(linked, 1 + network.delay, 2)
    _per_port(at.interval, network, memory)[:] = np.where(linked, network.interval, 1)
    credit_back = _per_port(at.credit_back, network, memory)
    credit_back[hangs] = 2
    credit_back[far] = 1 + network.delay[linked] + router.credit_delay
    memory.m[at.node_input : at.node_input + network.nodes] = here[hangs]
