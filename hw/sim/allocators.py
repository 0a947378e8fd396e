"""The two separable allocators of a router: iSLIP, one iteration, round robin on both sides.

Each output offers itself to the first requester from its pointer on; each requester takes the first offer
from its own. Both pointers move behind a pair that was made, so a pair that has just won comes last.
A pointer may stand one past the end, which means the beginning.
"""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, lowest
from .state import IN_VC, OUT_VC, PORT, ROUTER, WAITING, Layout, Settings


@inlined
def first_from(mask: int, start: int) -> int:
    """Index of the first set bit of a nonzero mask, from `start` on and around."""
    above = mask >> start
    return start + lowest(above) if above != 0 else lowest(mask)


@inlined
def beyond(index: int, start: int, size: int) -> int:
    """How far `index` lies beyond `start` in a circle of `size`."""
    return index - start if index >= start else index - start + size


@inlined
def usable_vcs(s: Settings, vc_class: int) -> int:
    """Mask of the VCs of a class; of all for -1."""
    begin, end = vc_class * s.vcs // s.vc_classes, (vc_class + 1) * s.vcs // s.vc_classes
    return (1 << end) - (1 << begin) if vc_class >= 0 else (1 << s.vcs) - 1


@inlined
def vc_winners(s: Settings, at: Layout, router: int) -> int:
    """Where the winners of a router's VC allocator are listed: a list of its own if they must be kept."""
    return at.vc_winner + ((router << (s.port_bits + s.vc_bits)) if s.vc_delay > 1 else 0)


@inlined
def switch_winners(s: Settings, at: Layout, router: int) -> int:
    """Where the winners of a router's switch allocator are listed."""
    return at.switch_winner + (router * s.ports * s.input_speedup if s.switch_delay > 1 else 0)


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


@inlined
def link_ready(s: Settings, at: Layout, m: np.ndarray, port: int, time: int) -> bool:
    """Whether a flit that asks for the crossbar now finds the link of this output port ready for it."""
    ready = m[at.last_departure + port * PORT] + m[at.interval + port * PORT]
    return ready <= time + s.switch_delay - 1 + s.crossbar_delay


@inlined
def hopeful(s: Settings, at: Layout, v: np.ndarray, first_vc: int, vcs: int, available: int) -> int:
    """Of these VCs of an input port, those whose packets may use an output VC that is available."""
    found = vcs
    while vcs != 0:
        c = lowest(vcs)
        vcs &= vcs - 1
        if usable_vcs(s, v[at.vc_class + (first_vc + c) * IN_VC]) & available == 0:
            found &= ~(1 << c)
    return found


@inlined
def allocate_switch(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, time: int) -> None:
    """Match inputs to outputs of the crossbar for one flit each; the winners are listed in switch_winner.

    With input speedup an input port has that many crossbar inputs, VC c at number c modulo the speedup;
    with output speedup input port p reaches crossbar output p modulo the speedup of an output port.
    A speculative request comes from a packet that still waits for its VC, and gives way to others of its own input.
    """
    lanes, taps = s.input_speedup, s.output_speedup
    inputs, outputs = s.ports * lanes, s.ports * taps
    first_port, first_in, first_out = router << s.port_bits, router * inputs, router * outputs
    wanted = m[at.switch_outputs + router * ROUTER]
    m[at.switch_won + router * ROUTER] = 0
    if s.speculative:
        wanted |= m[at.vc_outputs + router * ROUTER]
    if s.narrow:
        left = wanted
        while left != 0:
            q = lowest(left)
            left &= left - 1
            if not link_ready(s, at, m, first_port + q, time):
                wanted &= ~(1 << q)
    if wanted == 0:
        return
    if lanes == 1 and taps == 1 and wanted & (wanted - 1) == 0 and not s.speculative:
        q = lowest(wanted)
        ports = m[at.switch_inputs + (first_port + q) * PORT]
        if ports & (ports - 1) == 0:
            # The usual case, and the same outcome: one input asks for one output.
            p = lowest(ports)
            vcs = m[at.switch_request + ((first_port + q) << s.port_bits) + p]
            c = first_from(vcs, m[at.switch_vc_from + first_in + p])
            m[at.switch_grant_from + first_out + q] = p + 1
            m[at.switch_accept_from + first_in + p] = q + 1
            m[at.switch_vc_from + first_in + p] = c + 1 if c + 1 < s.vcs else 0
            m[switch_winners(s, at, router)] = ((first_port + p) << s.vc_bits) + c
            m[at.switch_won + router * ROUTER] = 1
            return
    for i in range(inputs):
        m[at.accepted + i] = outputs
    # Grant: each crossbar output to the first of the inputs that ask for it, from its pointer on.
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        port = first_port + q
        for e in range(q * taps, q * taps + taps):
            m[at.granted + e] = inputs
        available = m[at.free + port * PORT] & m[at.credit + port * PORT]
        guess = s.speculative and available != 0
        ports = m[at.switch_inputs + port * PORT]
        if guess:
            ports |= m[at.vc_inputs + port * PORT]
        while ports != 0:
            p = lowest(ports)
            ports &= ports - 1
            sure = m[at.switch_request + (port << s.port_bits) + p]
            maybe = m[at.vc_request + (port << s.port_bits) + p] if guess else 0
            if s.vc_classes > 1:
                maybe = hopeful(s, at, v, (first_port + p) << s.vc_bits, maybe, available)
            e = q if taps == 1 else q * taps + p % taps
            for lane in range(lanes):
                vcs, others = sure, maybe
                if lanes > 1:
                    of_lane = 0
                    for c in range(lane, s.vcs, lanes):
                        of_lane |= 1 << c
                    vcs &= of_lane
                    others &= of_lane
                if vcs == 0:
                    vcs = others
                if vcs != 0:
                    i = p * lanes + lane
                    distance = beyond(i, m[at.switch_grant_from + first_out + e], inputs)
                    if distance < m[at.granted + e]:
                        m[at.granted + e] = distance
                        m[at.granted_input + e] = i
                        m[at.granted_vc + e] = first_from(vcs, m[at.switch_vc_from + first_in + i])
    # Accept: each crossbar input the first of the outputs granted to it, from its pointer on.
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        for e in range(q * taps, q * taps + taps):
            if m[at.granted + e] < inputs:
                i = m[at.granted_input + e]
                distance = beyond(e, m[at.switch_accept_from + first_in + i], outputs)
                if distance < m[at.accepted + i]:
                    m[at.accepted + i] = distance
                    m[at.accepted_output + i] = e
    won = 0
    for i in range(inputs):
        if m[at.accepted + i] < outputs:
            e = m[at.accepted_output + i]
            c = m[at.granted_vc + e]
            following = c + lanes
            m[at.switch_grant_from + first_out + e] = i + 1
            m[at.switch_accept_from + first_in + i] = e + 1
            m[at.switch_vc_from + first_in + i] = following if following < s.vcs else following % s.vcs
            p = i if lanes == 1 else i // lanes
            m[switch_winners(s, at, router) + won] = ((first_port + p) << s.vc_bits) + c
            won += 1
    m[at.switch_won + router * ROUTER] = won


@inlined
def confirm_switch(s: Settings, at: Layout, m: np.ndarray, v: np.ndarray, router: int, step: int) -> None:
    """Drop the winners that cannot use the crossbar after all: no VC for a speculative one, or no credit."""
    first = switch_winners(s, at, router)
    kept = 0
    for k in range(m[at.switch_won + router * ROUTER]):
        vc = m[first + k]
        chosen = v[at.out_vc + vc * IN_VC]
        if v[at.phase + vc * IN_VC] == WAITING:
            if m[at.vc_step + router * ROUTER] != step or v[at.won + vc * IN_VC] < 0:
                continue
            chosen = v[at.won + vc * IN_VC]
        if (m[at.credit + ((router << s.port_bits) + v[at.out_port + vc * IN_VC]) * PORT] >> chosen) & 1:
            m[first + kept] = vc
            kept += 1
    m[at.switch_won + router * ROUTER] = kept
