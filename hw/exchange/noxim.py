"""Noxim: a traffic table, `noxim -traffic table FILE`. Read from its source at commit 4c8e72d.

Noxim draws packets at random with the rate that the table gives for a pair of nodes while that line is active, and
the length of every packet from one range. So times within a phase and the mix of lengths are lost; what each pair
sends in each phase is kept, on average.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Ints
from ..errors import ChipError
from ..network_spec import NetworkSpec
from ..traffic import Packets

RESET_CYCLES = 1000
"""Noxim's default `reset_time`; its clock counts from there on."""


def to_noxim(packets: Packets, phase: Ints, spec: NetworkSpec) -> str:
    """One line per pair of nodes and phase: source, target, packet rate, its rate after a packet, first and last cycle.

    `phase` int [packets]; phases do not overlap. A phase is active from its first packet until its last, or until
    the busiest source can have sent everything, one flit per cycle. The rates keep each pair's flits, in packets of
    the longest length. Raises ChipError for anything but a mesh with XY routing.
    """
    if spec.topology != "mesh" or spec.routing != "xy":
        raise ChipError(f"Noxim's table is for a mesh with XY routing, not {spec.topology} with {spec.routing!r}.")
    if not len(packets):
        raise ChipError("there are no packets to write as a Noxim table. Choose another format.")
    length = int(packets.flits.max())
    phases, phase = np.unique(phase, return_inverse=True)
    first, last = np.full(len(phases), packets.time.max()), np.zeros(len(phases), np.int64)
    np.minimum.at(first, phase, packets.time)
    np.maximum.at(last, phase, packets.time)
    sent = np.zeros((len(phases), spec.nodes), np.int64)
    np.add.at(sent, (phase, packets.source), packets.flits)
    cycles = np.maximum(last - first + 1, sent.max(axis=1))
    pairs, pair = np.unique(np.stack([phase, packets.source, packets.target], axis=1), axis=0, return_inverse=True)
    flits = np.bincount(pair.ravel(), packets.flits, len(pairs))
    rate = flits / (length * cycles[pairs[:, 0]])
    # A line is active strictly between its two cycles.
    begin = first[pairs[:, 0]] + RESET_CYCLES - 1
    end = begin + cycles[pairs[:, 0]] + 1
    lines = [
        f"% -dimx {spec.columns} -dimy {spec.rows} -routing XY -size {length} {length} -sim {end.max()} -traffic table",
        "% source target packets_per_cycle same_after_a_packet from to",
    ]
    for (_, source, target), r, on, off in zip(
        pairs.tolist(), rate.tolist(), begin.tolist(), end.tolist(), strict=True
    ):
        lines.append(f"{source} {target} {r:.9g} {r:.9g} {on} {off}")
    return "\n".join(lines) + "\n"
