"""The switch allocator of a router: which flits cross from inputs to outputs."""

from __future__ import annotations

import numpy as np

from ..compiled import inlined, lowest
from .allocators import beyond, first_from, usable_vcs
from .state import IN_VC, PORT, ROUTER, WAITING, Layout, Settings


@inlined
def switch_winners(s: Settings, at: Layout, router: int) -> int:
    """Where the winners of a router's switch allocator are listed."""
    return at.switch_winner + (router * s.ports * s.input_speedup if s.switch_delay > 1 else 0)


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
