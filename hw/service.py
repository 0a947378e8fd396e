"""How long packets occupy a source, a link and an input of a router: the delays behind the analytic model.

Everything follows from four stages (route, VC allocation, switch allocation, crossbar) and the way of a credit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .compiled import compiled
from .network import Network
from .router import Router


class Service(NamedTuple):
    """Delays in cycles and sizes in flits, as floats for compiled code."""

    vcs: float
    buffer: float
    head: float
    """a head flit at the front of a VC until it may cross: route, VC and switch allocation"""
    head_wait: float
    """the part of it that a flit of a packet under way does not need: route and VC allocation"""
    round_trip: float
    """crossing to crossing of the slot's next flit over a link of one cycle, when a head waits at its end"""
    hop: float
    """zero load, per router, with the link behind it"""
    switch: float
    """cycles between two flits of one input"""
    tail_credit: float
    """1 if a VC is taken again only when its last credit is back"""
    internal_speedup: float
    input_speedup: float
    alternate: float
    """time that a packet occupies a link when the next comes from another input, over that when it does not"""
    spill: float
    """with one VC: for how much of the time that a packet waits at the front its buffer is full and stops the link"""
    circles: bool
    """channels may wait for each other in a circle, but for classes of VCs: back-pressure has no end to start from"""


def service_of(router: Router, network: Network, packet_flits: float) -> Service:
    """The delays of `router` for packets of `packet_flits` on average."""
    allocation = router.sw_alloc_delay + (0 if router.speculative else router.vc_alloc_delay)
    front = router.routing_delay + allocation
    speed = router.internal_speedup
    # Routing works in batches: with several VCs a head meets one under way, and waits for half of it.
    batch = (router.routing_delay - 1) / 2 if router.num_vcs > 1 and router.routing_delay > 1 else 0.0
    head = 1 + (front - 1) / speed + batch
    round_trip = 3 + router.credit_delay + router.crossbar_delay + front / speed + batch
    credits = packet_flits * round_trip / router.vc_buf_size
    vcs = max(1, router.num_vcs // network.vc_classes)
    turn, same = (
        # As link_cycles; between packets from different inputs only allocation is left.
        max(packet_flits, max((packet_flits * router.sw_alloc_delay + stage - 1) / speed, credits) / vcs)
        for stage in (allocation, front)
    )
    # A head that waits for a batch of several VCs to be routed is not routed while another is sent.
    waits = router.wait_for_tail_credit or (vcs > 1 and router.routing_delay > 1)
    alternate = 1.0 if waits else turn / same
    return Service(
        vcs=float(vcs),
        buffer=float(router.vc_buf_size),
        head=head,
        head_wait=(front - router.sw_alloc_delay) / speed,
        round_trip=round_trip,
        hop=float(router.zero_load_cycles(1, 1) - router.zero_load_cycles(0, 1)),
        switch=float(router.sw_alloc_delay),
        tail_credit=float(router.wait_for_tail_credit),
        internal_speedup=speed,
        input_speedup=float(router.input_speedup),
        alternate=alternate,
        spill=1 / (1 + router.vc_buf_size / packet_flits),
        circles=network.vc_classes > 1,
    )


@compiled
def inject_cycles(s: Service, flits: float, hops: int) -> float:
    """Cycles in which a source sends one packet.

    A packet travels on one VC, so beyond `buffer` flits it waits for credits; behind a head on its way, which stops in
    each of `hops` routers to be routed, they take longer to come back.
    """
    stalls = math.ceil(flits / s.buffer) - 1
    slow = min(stalls, hops + 1)
    # The node's own wire: no crossbar, and no delay of the credit.
    first = s.round_trip if hops > 0 else s.head + 3
    return (
        flits * s.switch
        + slow * max(first - s.buffer, 0.0)
        + (stalls - slow) * max(first - s.head_wait - s.buffer, 0.0)
    )


@compiled
def source_cycles(s: Service, flits: float, packets: float, inject: float) -> float:
    """Cycles in which a source sends `packets`, with `flits` together; `inject` is the sum of their inject_cycles.

    One packet after another, and every VC waits for its credits from one to the next.
    """
    round_trip = s.head + 3
    one = min(flits * round_trip / s.buffer, inject + packets * round_trip)
    if s.tail_credit > 0:
        one = inject + packets * round_trip
    return max(inject, one / s.vcs)


@compiled
def tail_cycles(s: Service, flits: float) -> float:
    """Zero load: how long after its head the tail of a packet is ejected."""
    stalls = math.ceil(flits / s.buffer) - 1
    return flits - 1 + stalls * max(s.round_trip - s.head_wait - s.buffer, 0.0)


@compiled
def link_cycles(
    s: Service, flits: float, packets: float, inject: float, delay: int, interval: int, to_node: bool
) -> float:
    """Cycles of a link's capacity that `packets` take, with `flits` together; `inject` is their inject_cycles.

    One VC carries a packet, then routes the next, and needs a credit per flit; `vcs` of them do so at a time.
    """
    round_trip = s.round_trip + 2 * (delay - 1) - (s.head_wait if to_node else 0.0)
    credits = min(flits * round_trip / s.buffer, inject + packets * round_trip)
    one = max(flits * s.switch / s.internal_speedup + packets * (s.head - 1), credits)
    if s.tail_credit > 0:
        one = max(one, inject + packets * round_trip)
    return max(flits * interval * s.switch, one / s.vcs)


@compiled
def input_cycles(s: Service, flits: float, packets: float) -> float:
    """Cycles in which `packets` that nothing holds up occupy an input of a router: all of it, with one VC."""
    if s.vcs == 1:
        return max(flits, flits * s.switch / s.internal_speedup + packets * (s.head - 1))
    return flits * s.switch
