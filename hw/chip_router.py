"""The simulator's router of a chip: its few cycle counts, spread over the stages of BookSim2's pipeline."""

from __future__ import annotations

from .chip import Chip
from .errors import ChipError
from .router import Router

CREDIT_CYCLES = 7
"""What chip files call `credit_cycles` of a router without `credit_delay`, over links of one cycle."""


def router_of(chip: Chip) -> Router:
    """A router with the chip's VCs, buffers and delays; the stages are one cycle each, and routing takes the rest.

    Three cycles are lookahead routing, two are lookahead and speculation. Raises ChipError where the pipeline
    cannot be that short, or credits cannot be back that soon.
    """
    noc = chip.noc
    if noc.router_cycles < 2:
        raise ChipError(
            f"chip {chip.name!r}: router_cycles is {noc.router_cycles}, but the simulated router takes at least 2 "
            "(switch allocation and crossbar). Raise it."
        )
    soonest = CREDIT_CYCLES + 2 * (noc.link_cycles - 1)
    if noc.credit_cycles < soonest:
        raise ChipError(
            f"chip {chip.name!r}: credit_cycles is {noc.credit_cycles}, but over links of {noc.link_cycles} cycles "
            f"credits are back after {soonest} at the earliest. Raise it."
        )
    return Router(
        num_vcs=noc.vcs,
        vc_buf_size=noc.buffer_flits,
        routing_delay=max(noc.router_cycles - 3, 0),
        credit_delay=noc.credit_cycles - soonest,
        speculative=noc.router_cycles == 2,
    )
