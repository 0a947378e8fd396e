"""The VC allocator of a router: which waiting packet gets which VC of its output port."""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, lowest
from .allocators import beyond, first_from, usable_vcs
from .state import IN_VC, OUT_VC, PORT, ROUTER, Layout, Settings


@inlined
def vc_winners(s: Settings, at: Layout, router: int) -> int:
    """Where the winners of a router's VC allocator are listed: a list of its own if they must be kept."""
    return at.vc_winner + ((router << (s.port_bits + s.vc_bits)) if s.vc_delay > 1 else 0)


@inlined
def win_vc(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, q: int, requester: int, c: int) -> None:
    """Note that a requester has won VC c of output q, and move both pointers behind the pair."""
    first_port = router << s.port_bits
    vc = (first_port << s.vc_bits) + requester
    v[at.vc_grant_from + (((first_port + q) << s.vc_bits) + c) * OUT_VC] = requester + 1
    v[at.vc_accept_from + vc * IN_VC] = (q << s.vc_bits) + c + 1
    v[at.won + vc * IN_VC] = c
    m[vc_winners(s, at, router) + m[at.vc_won + router * ROUTER]] = vc
    m[at.vc_won + router * ROUTER] += 1


@inlined
def allocate_vcs(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, step: int) -> None:
    """Choose output VCs for waiting packets; the winners stay listed in vc_winner until their delay is over.

    A packet asks for every free VC, of those it may use, of its one output port, so output ports do not interfere.
    """
    first_port = router << s.port_bits
    first_vc = first_port << s.vc_bits
    m[at.vc_won + router * ROUTER] = 0
    if s.speculative:
        m[at.vc_step + router * ROUTER] = step
    outputs = m[at.vc_outputs + router * ROUTER]
    while outputs != 0:
        q = lowest(outputs)
        outputs &= outputs - 1
        port = first_port + q
        free = m[at.free + port * PORT]
        if s.vc_busy_when_full:
            free &= m[at.credit + port * PORT]
        if free == 0:
            continue
        ports = m[at.vc_inputs + port * PORT]
        p = lowest(ports)
        vcs = m[at.vc_request + (port << s.port_bits) + p]
        if ports & (ports - 1) == 0 and vcs & (vcs - 1) == 0:
            # The usual case, and the same outcome: one packet asks.
            requester = (p << s.vc_bits) + lowest(vcs)
            if s.vc_classes > 1:
                free &= usable_vcs(s, v[at.vc_class + (first_vc + requester) * IN_VC])
            if free != 0:
                start = v[at.vc_accept_from + (first_vc + requester) * IN_VC] - (q << s.vc_bits)
                win_vc(s, at, m, v, router, q, requester, first_from(free, start if 0 <= start < s.vcs else 0))
        else:
            match_vcs(s, at, m, v, router, q, free)


@inlined
def match_vcs(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, q: int, free: int) -> None:
    """Match the packets that ask for output q with its free VCs."""
    first_port = router << s.port_bits
    first_vc = first_port << s.vc_bits
    port, base, size = first_port + q, q << s.vc_bits, s.ports << s.vc_bits
    many = 0
    ports = m[at.vc_inputs + port * PORT]
    while ports != 0:
        p = lowest(ports)
        ports &= ports - 1
        vcs = m[at.vc_request + (port << s.port_bits) + p]
        while vcs != 0:
            m[at.requesters + many] = (p << s.vc_bits) + lowest(vcs)
            m[at.offer + many] = -1
            vcs &= vcs - 1
            many += 1
    while free != 0:
        c = lowest(free)
        free &= free - 1
        start = v[at.vc_grant_from + ((port << s.vc_bits) + c) * OUT_VC]
        # The first requester from `start` on, or the first of all, among those that may use this VC.
        chosen, first = -1, -1
        for k in range(many):
            requester = m[at.requesters + k]
            if s.vc_classes > 1 and (usable_vcs(s, v[at.vc_class + (first_vc + requester) * IN_VC]) >> c) & 1 == 0:
                continue
            if first < 0:
                first = k
            if requester >= start:
                chosen = k
                break
        if chosen < 0:
            chosen = first
        if chosen >= 0:
            accept = v[at.vc_accept_from + (first_vc + m[at.requesters + chosen]) * IN_VC]
            now = m[at.offer + chosen]
            if now < 0 or beyond(base + c, accept, size) < beyond(base + now, accept, size):
                m[at.offer + chosen] = c
    for k in range(many):
        if m[at.offer + k] >= 0:
            win_vc(s, at, m, v, router, q, m[at.requesters + k], m[at.offer + k])
