"""The two separable allocators of a router: iSLIP, one iteration, round robin on both sides.

Each output offers itself to the first requester from its pointer on; each requester takes the first offer
from its own. Both pointers move behind a pair that was made, so a pair that has just won comes last.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cannon_fx.hw.sim_state import WAITING, Layout, Settings

_FACTOR = 0x03F79D71B4CB0A89
_POSITION = np.zeros(64, np.int64)
for _bit in range(64):
    _POSITION[((_FACTOR << _bit) & 0xFFFFFFFFFFFFFFFF) >> 58] = _bit


@njit(cache=True)
def lowest(mask: int) -> int:
    """Index of the lowest set bit of a nonzero mask; a de Bruijn product, since numba has no such instruction."""
    return _POSITION[(((mask & -mask) * _FACTOR) >> 58) & 63]


@njit(cache=True)
def first_from(mask: int, start: int) -> int:
    """Index of the first set bit of a nonzero mask, from `start` on and around."""
    above = mask >> start
    return start + lowest(above) if above != 0 else lowest(mask)


@njit(cache=True)
def allocate_vcs(s: Settings, at: Layout, m: np.ndarray, router: int, step: int) -> None:
    """Choose output VCs for waiting packets; the winners stay listed in vc_winner until their delay is over.

    A packet asks for every free VC of its one output port, so output ports do not interfere.
    `requesters` and `offer` are scratch, one entry per input VC of a router.
    """
    inputs = s.ports * s.vcs
    won = 0
    outputs = m[at.vc_outputs + router]
    while outputs != 0:
        q = lowest(outputs)
        outputs &= outputs - 1
        port = router * s.ports + q
        free = m[at.free + port]
        if s.vc_busy_when_full:
            free &= m[at.credit + port]
        if free == 0:
            continue
        base = q * s.vcs
        many = 0
        ports = m[at.vc_inputs + port]
        while ports != 0:
            p = lowest(ports)
            ports &= ports - 1
            vcs = m[at.vc_request + port * s.ports + p]
            while vcs != 0:
                m[at.requesters + many] = p * s.vcs + lowest(vcs)
                m[at.offer + many] = -1
                vcs &= vcs - 1
                many += 1
        if many == 1:
            start = m[at.vc_accept_from + router * inputs + m[at.requesters + 0]] - base
            m[at.offer + 0] = first_from(free, start if 0 <= start < s.vcs else 0)
        else:
            while free != 0:
                c = lowest(free)
                free &= free - 1
                start = m[at.vc_grant_from + port * s.vcs + c]
                chosen = 0
                while chosen < many and m[at.requesters + chosen] < start:
                    chosen += 1
                if chosen == many:
                    chosen = 0
                accept = m[at.vc_accept_from + router * inputs + m[at.requesters + chosen]]
                now = m[at.offer + chosen]
                if now < 0 or (base + c - accept) % inputs < (base + now - accept) % inputs:
                    m[at.offer + chosen] = c
        for k in range(many):
            if m[at.offer + k] >= 0:
                vc = router * inputs + m[at.requesters + k]
                m[at.vc_grant_from + port * s.vcs + m[at.offer + k]] = (m[at.requesters + k] + 1) % inputs
                m[at.vc_accept_from + vc] = (base + m[at.offer + k] + 1) % inputs
                m[at.vc_won_step + vc] = step
                m[at.vc_won_vc + vc] = m[at.offer + k]
                m[at.vc_winner + router * inputs + won] = vc
                won += 1
    m[at.vc_won + router] = won


@njit(cache=True)
def allocate_switch(s: Settings, at: Layout, m: np.ndarray, router: int) -> None:
    """Match inputs to outputs of the crossbar for one flit each; the winners are listed in switch_winner.

    With input speedup an input port has that many crossbar inputs, VC c at number c modulo the speedup;
    with output speedup input port p reaches crossbar output p modulo the speedup of an output port.
    A speculative request comes from a packet that still waits for its VC, and gives way to others of its own input.
    """
    lanes, taps = s.input_speedup, s.output_speedup
    inputs, outputs = s.ports * lanes, s.ports * taps
    for i in range(inputs):
        m[at.accepted + i] = outputs
    wanted = m[at.switch_outputs + router]
    if s.speculative:
        wanted |= m[at.vc_outputs + router]
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        port = router * s.ports + q
        for tap in range(taps):
            m[at.granted + q * taps + tap] = inputs
        guess = s.speculative and (m[at.free + port] & m[at.credit + port]) != 0
        ports = m[at.switch_inputs + port]
        if guess:
            ports |= m[at.vc_inputs + port]
        while ports != 0:
            p = lowest(ports)
            ports &= ports - 1
            sure = m[at.switch_request + port * s.ports + p]
            maybe = m[at.vc_request + port * s.ports + p] if guess else 0
            e = q * taps + p % taps
            for lane in range(lanes):
                vcs, others = sure, maybe
                if lanes > 1:
                    lane_vcs = 0
                    for c in range(lane, s.vcs, lanes):
                        lane_vcs |= 1 << c
                    vcs &= lane_vcs
                    others &= lane_vcs
                if vcs == 0:
                    vcs = others
                if vcs != 0:
                    i = p * lanes + lane
                    distance = (i - m[at.switch_grant_from + router * outputs + e]) % inputs
                    if distance < m[at.granted + e]:
                        m[at.granted + e] = distance
                        m[at.granted_input + e] = i
                        m[at.granted_vc + e] = first_from(vcs, m[at.switch_vc_from + router * inputs + i])
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        for e in range(q * taps, q * taps + taps):
            if m[at.granted + e] < inputs:
                i = m[at.granted_input + e]
                distance = (e - m[at.switch_accept_from + router * inputs + i]) % outputs
                if distance < m[at.accepted + i]:
                    m[at.accepted + i] = distance
                    m[at.accepted_output + i] = e
    won = 0
    for i in range(inputs):
        if m[at.accepted + i] < outputs:
            e = m[at.accepted_output + i]
            m[at.switch_grant_from + router * outputs + e] = (i + 1) % inputs
            m[at.switch_accept_from + router * inputs + i] = (e + 1) % outputs
            m[at.switch_vc_from + router * inputs + i] = (m[at.granted_vc + e] + lanes) % s.vcs
            m[at.switch_winner + router * inputs + won] = (router * s.ports + i // lanes) * s.vcs + m[at.granted_vc + e]
            won += 1
    m[at.switch_won + router] = won


@njit(cache=True)
def confirm_switch(s: Settings, at: Layout, m: np.ndarray, router: int, step: int) -> None:
    """Drop the winners that cannot use the crossbar after all: no VC for a speculative one, or no credit."""
    inputs = s.ports * s.input_speedup
    kept = 0
    for k in range(m[at.switch_won + router]):
        vc = m[at.switch_winner + router * inputs + k]
        chosen = m[at.out_vc + vc]
        if m[at.phase + vc] == WAITING:
            if m[at.vc_won_step + vc] != step:
                continue
            chosen = m[at.vc_won_vc + vc]
        if (m[at.credit + router * s.ports + m[at.out_port + vc]] >> chosen) & 1:
            m[at.switch_winner + router * inputs + kept] = vc
            kept += 1
    m[at.switch_won + router] = kept
