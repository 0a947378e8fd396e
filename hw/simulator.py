"""Flit-level simulation of a network-on-chip: wormhole, virtual channels, credits; deterministic.

The mechanism is that of BookSim2's input-queued router (see docs/noc.md). Every number is `simulated`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import sim_kernel as kernel
from .errors import ChipError
from .network import Network
from .noc import Ints
from .router import Router
from .sim_state import PORT, Layout, Memory, Settings, lay_out
from .traffic import Packets

MOST_PACKETS = 1 << 29
"""A flit is a packet number and two flags in 32 bits."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Outcome of a simulation; cycles count from 0.

    `latency_cycles` int64 [packets]: tail ejection - creation, in the order in which the packets were given.
    `link_flits` int64 [routers, ports]: flits that left each router through each port; the last port leads to the
    node, the others are the links (on a mesh: east, west, south, north).
    """

    makespan_cycles: int
    """cycle in which the last tail is ejected; 0 without packets"""
    latency_cycles: Ints
    link_flits: Ints
    flits: int
    flit_hops: int
    """flits times links traversed"""
    cycles: int
    """cycles from 0 to the end; idle ones are skipped, not visited"""

    @property
    def mean_packet_latency_cycles(self) -> float:
        return float(self.latency_cycles.mean()) if len(self.latency_cycles) else 0.0


def simulate(packets: Packets, network: Network, router: Router) -> Simulation:
    """Send `packets` through `network` and wait for the last one.

    Packets of one source leave in the order of creation, equal times in the given order, one flit per cycle at most.
    Raises ChipError for a source or target outside the network, and when the network deadlocks.
    """
    for name, nodes in (("source", packets.source), ("target", packets.target)):
        outside = (nodes < 0) | (nodes >= network.routers)
        if outside.any():
            row = int(outside.argmax())
            raise ChipError(
                f"{name} {nodes[row]} of packet {row} lies outside the network, whose tiles are 0 to "
                f"{network.routers - 1}. Correct the packet or enlarge the network."
            )
    count = len(packets.time)
    if count > MOST_PACKETS:
        raise ChipError(f"{count} packets are too many for one simulation: at most {MOST_PACKETS}. Split the trace.")
    settings = _settings(network, router)
    at, memory = lay_out(settings, network.routers)
    _connect(network, router, at, memory)
    order = np.argsort(packets.time, kind="stable")
    ejected = np.zeros(count, np.int64)
    outcome, cycle, left = kernel.run(
        settings,
        at,
        memory,
        network.next_port,
        packets.time[order],
        packets.source[order],
        packets.target[order],
        packets.flits[order],
        ejected,
        np.full(count, -1),
        _patience(settings),
    )
    if outcome == kernel.DEADLOCK:
        raise ChipError(
            f"the network is deadlocked at cycle {cycle}: {left} of {count} packets are left and no flit has "
            f"moved for {_patience(settings)} cycles. Use a routing without cycles (XY on a mesh, or a tree)."
        )
    latency = np.empty(count, np.int64)
    latency[order] = ejected - packets.time[order]
    link_flits = _per_port(at.link_flits, network, memory).copy()
    return Simulation(
        makespan_cycles=int(ejected.max()) if count else 0,
        latency_cycles=latency,
        link_flits=link_flits,
        flits=int(packets.flits.sum()),
        flit_hops=int(link_flits[:, :-1].sum()),
        cycles=cycle,
    )


def _settings(network: Network, router: Router) -> Settings:
    delays = 2 * router.crossbar_delay + router.credit_delay + int(network.delay.max()) + 8
    # With speedup more flits can pass the crossbar than a link takes: they queue, as many as have credits.
    fast = router.input_speedup > 1 or router.output_speedup > 1 or router.internal_speedup > 1
    backlog = router.num_vcs * router.vc_buf_size if fast else 0
    return Settings(
        nodes=network.routers,
        ports=network.ports,
        vcs=router.num_vcs,
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
        wheel=1 << (delays + backlog).bit_length(),
        port_bits=(network.ports - 1).bit_length(),
        vc_bits=(router.num_vcs - 1).bit_length(),
        slot=network.routers * (network.ports + 1),
    )


def _patience(settings: Settings) -> int:
    """Cycles without an arrival or an injection after which nothing will ever move again."""
    return settings.wheel + 4 * (settings.routing_delay + settings.vc_delay + settings.switch_delay) + 16


def _per_port(begin: int, network: Network, memory: Memory) -> Ints:
    """The part of the memory that holds one entry per port, as [routers, ports]."""
    stride = 1 << (network.ports - 1).bit_length()
    part = memory[begin : begin + network.routers * stride * PORT : PORT]
    return part.reshape(network.routers, stride)[:, : network.ports]


def _connect(network: Network, router: Router, at: Layout, memory: Memory) -> None:
    """Write the wires into the memory."""
    stride = 1 << (network.ports - 1).bit_length()
    here = np.arange(network.routers * stride).reshape(network.routers, stride)[:, : network.ports]
    node = network.ports - 1
    linked = network.neighbour >= 0
    far = network.neighbour[linked], network.neighbour_port[linked]
    _per_port(at.down, network, memory)[linked] = here[far]
    up = _per_port(at.up, network, memory)
    up[far] = here[linked]
    up[:, node] = -1 - np.arange(network.routers)
    # What leaves in one cycle is on the wire from the next on. Wires to and from nodes take one cycle.
    flit_delay = _per_port(at.flit_delay, network, memory)
    flit_delay[:] = 1 + network.delay
    flit_delay[:, node] = 2
    credit_back = _per_port(at.credit_back, network, memory)
    credit_back[far] = 1 + network.delay[linked] + router.credit_delay
    credit_back[:, node] = 2
    memory[at.node_input : at.node_input + network.routers] = here[:, node]
