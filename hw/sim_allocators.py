"""The two separable allocators of a router: iSLIP, one iteration, round robin on both sides.

Each output offers itself to the first requester from its pointer on; each requester takes the first offer
from its own. Both pointers move behind a pair that was made, so a pair that has just won comes last.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cannon_fx.hw.sim_state import WAITING, Settings, State

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
def allocate_vcs(s: Settings, n: State, router: int, step: int, requesters: np.ndarray, offer: np.ndarray) -> None:
    """Choose output VCs for waiting packets; the winners stay listed in vc_winner until their delay is over.

    A packet asks for every free VC of its one output port, so output ports do not interfere.
    `requesters` and `offer` are scratch, one entry per input VC of a router.
    """
    inputs = s.ports * s.vcs
    won = 0
    outputs = n.vc_outputs[router]
    while outputs != 0:
        q = lowest(outputs)
        outputs &= outputs - 1
        port = router * s.ports + q
        free = n.free[port]
        if s.vc_busy_when_full:
            free &= n.credit[port]
        if free == 0:
            continue
        base = q * s.vcs
        many = 0
        ports = n.vc_inputs[port]
        while ports != 0:
            p = lowest(ports)
            ports &= ports - 1
            vcs = n.vc_request[port * s.ports + p]
            while vcs != 0:
                requesters[many] = p * s.vcs + lowest(vcs)
                offer[many] = -1
                vcs &= vcs - 1
                many += 1
        if many == 1:
            start = n.vc_accept_from[router * inputs + requesters[0]] - base
            offer[0] = first_from(free, start if 0 <= start < s.vcs else 0)
        else:
            while free != 0:
                c = lowest(free)
                free &= free - 1
                start = n.vc_grant_from[port * s.vcs + c]
                chosen = 0
                while chosen < many and requesters[chosen] < start:
                    chosen += 1
                if chosen == many:
                    chosen = 0
                accept = n.vc_accept_from[router * inputs + requesters[chosen]]
                now = offer[chosen]
                if now < 0 or (base + c - accept) % inputs < (base + now - accept) % inputs:
                    offer[chosen] = c
        for k in range(many):
            if offer[k] >= 0:
                vc = router * inputs + requesters[k]
                n.vc_grant_from[port * s.vcs + offer[k]] = (requesters[k] + 1) % inputs
                n.vc_accept_from[vc] = (base + offer[k] + 1) % inputs
                n.vc_won_step[vc] = step
                n.vc_won_vc[vc] = offer[k]
                n.vc_winner[router * inputs + won] = vc
                won += 1
    n.vc_won[router] = won


@njit(cache=True)
def allocate_switch(s: Settings, n: State, router: int, scratch: np.ndarray) -> None:
    """Match inputs to outputs of the crossbar for one flit each; the winners are listed in switch_winner.

    With input speedup an input port has that many crossbar inputs, VC c at number c modulo the speedup;
    with output speedup input port p reaches crossbar output p modulo the speedup of an output port.
    A speculative request comes from a packet that still waits for its VC, and gives way to others of its own input.
    """
    lanes, taps = s.input_speedup, s.output_speedup
    inputs, outputs = s.ports * lanes, s.ports * taps
    # Rows of scratch: per crossbar output the distance of the best requester, its input, its VC; per input the same.
    granted, by, vc_of, accepted, output_of = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for i in range(inputs):
        accepted[i] = outputs
    wanted = n.switch_outputs[router]
    if s.speculative:
        wanted |= n.vc_outputs[router]
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        port = router * s.ports + q
        for tap in range(taps):
            granted[q * taps + tap] = inputs
        guess = s.speculative and (n.free[port] & n.credit[port]) != 0
        ports = n.switch_inputs[port]
        if guess:
            ports |= n.vc_inputs[port]
        while ports != 0:
            p = lowest(ports)
            ports &= ports - 1
            sure = n.switch_request[port * s.ports + p]
            maybe = n.vc_request[port * s.ports + p] if guess else 0
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
                    distance = (i - n.switch_grant_from[router * outputs + e]) % inputs
                    if distance < granted[e]:
                        granted[e] = distance
                        by[e] = i
                        vc_of[e] = first_from(vcs, n.switch_vc_from[router * inputs + i])
    left = wanted
    while left != 0:
        q = lowest(left)
        left &= left - 1
        for e in range(q * taps, q * taps + taps):
            if granted[e] < inputs:
                i = by[e]
                distance = (e - n.switch_accept_from[router * inputs + i]) % outputs
                if distance < accepted[i]:
                    accepted[i] = distance
                    output_of[i] = e
    won = 0
    for i in range(inputs):
        if accepted[i] < outputs:
            e = output_of[i]
            n.switch_grant_from[router * outputs + e] = (i + 1) % inputs
            n.switch_accept_from[router * inputs + i] = (e + 1) % outputs
            n.switch_vc_from[router * inputs + i] = (vc_of[e] + lanes) % s.vcs
            n.switch_winner[router * inputs + won] = (router * s.ports + i // lanes) * s.vcs + vc_of[e]
            won += 1
    n.switch_won[router] = won


@njit(cache=True)
def confirm_switch(s: Settings, n: State, router: int, step: int) -> None:
    """Drop the winners that cannot use the crossbar after all: no VC for a speculative one, or no credit."""
    inputs = s.ports * s.input_speedup
    kept = 0
    for k in range(n.switch_won[router]):
        vc = n.switch_winner[router * inputs + k]
        chosen = n.out_vc[vc]
        if n.phase[vc] == WAITING:
            if n.vc_won_step[vc] != step:
                continue
            chosen = n.vc_won_vc[vc]
        if (n.credit[router * s.ports + n.out_port[vc]] >> chosen) & 1:
            n.switch_winner[router * inputs + kept] = vc
            kept += 1
    n.switch_won[router] = kept
