"""Chrome's trace-event JSON, which Perfetto opens: what a simulated inference does, and when.

Four groups of tracks: phases; nodes while packets of theirs are on the way; nodes while packets for them are; links.
Times are in microseconds, one cycle = 1 / (1000 x clock in GHz) of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Ints
from ..errors import ChipError
from ..network import Network
from ..simulator import Simulation
from ..traffic import Packets

PHASES, SENDING, RECEIVING, LINKS = 1, 2, 3, 4
_GROUPS = {PHASES: "phases", SENDING: "nodes sending", RECEIVING: "nodes receiving", LINKS: "links (flits per cycle)"}

Event = dict[str, Any]


@dataclass(frozen=True, eq=False)
class SimulatedPhase:
    """One step: packets that were simulated together, in a network empty before. Phases follow one another."""

    name: str
    packets: Packets
    simulation: Simulation


def to_perfetto(phases: Sequence[SimulatedPhase], network: Network, clock_ghz: float) -> str:
    """The JSON text. A phase starts when the last flit of the one before has arrived.

    A node's slices are the times during which at least one of its packets is on the way, creation to tail ejection.
    A link's counter is its mean load over a phase: the simulation keeps no finer record. Raises ChipError.
    """
    if not 0 < clock_ghz < float("inf"):
        raise ChipError(f"clock_ghz is {clock_ghz}: give a positive, finite number.")
    named = [_meta("process_name", group, 0, name) for group, name in _GROUPS.items()]
    named += [
        _meta("thread_name", g, node + 1, f"node {node}") for g in (SENDING, RECEIVING) for node in _seen(phases, g)
    ]
    events: list[Event] = []
    start = 0
    for phase in phases:
        events += _phase(phase, network, start)
        start += phase.simulation.makespan_cycles
    # Where one event ends another begins, the end comes first: so phases and links do not overlap.
    for event in events:
        for key in ("ts", "dur"):
            if key in event:
                event[key] = round(event[key] / (1000 * clock_ghz), 9)
    events.sort(key=lambda event: event["ts"])
    about = {"clock_ghz": clock_ghz, "microseconds_per_cycle": 1 / (1000 * clock_ghz)}
    return json.dumps({"displayTimeUnit": "ns", "otherData": about, "traceEvents": named + events}) + "\n"


def _phase(phase: SimulatedPhase, network: Network, start: int) -> Iterator[Event]:
    found, packets = phase.simulation, phase.packets
    length = found.makespan_cycles
    if not len(packets):
        return
    yield {
        "ph": "X", "pid": PHASES, "tid": 1, "ts": start, "dur": length, "name": phase.name,
        "args": {
            "packets": len(packets), "flits": found.flits, "flit_hops": found.flit_hops,
            "mean_packet_latency_cycles": found.mean_packet_latency_cycles,
        },
    }  # fmt: skip
    for group, node in ((SENDING, packets.source), (RECEIVING, packets.target)):
        for at, begin, end, count, flits in _busy(node, packets, found.latency_cycles):
            yield {
                "ph": "X", "pid": group, "tid": at + 1, "ts": start + begin, "dur": end - begin, "name": phase.name,
                "args": {"packets": count, "flits": flits},
            }  # fmt: skip
    load = np.where(network.neighbour >= 0, found.link_flits, 0) / length
    for router in np.flatnonzero(load.any(axis=1)).tolist():
        ports = np.flatnonzero(load[router]).tolist()
        mean = {f"to {network.neighbour[router, port]}": round(float(load[router, port]), 6) for port in ports}
        for at, value in ((start, mean), (start + length, dict.fromkeys(mean, 0))):
            yield {"ph": "C", "pid": LINKS, "tid": 0, "ts": at, "name": f"router {router}", "args": value}


def _busy(node: Ints, packets: Packets, latency: Ints) -> list[list[int]]:
    """Unions of the packets' times per node: rows of node, begin, end, packets, flits."""
    order = np.lexsort([packets.time, node])
    node, begin, flits = node[order], packets.time[order], packets.flits[order]
    apart = int((packets.time + latency).max()) + 1  # puts every node on a stretch of time of its own
    latest = np.maximum.accumulate(begin + latency[order] + node * apart)
    first = np.flatnonzero(np.append(True, begin[1:] + node[1:] * apart > latest[:-1]))
    end = latest[np.append(first[1:], len(node)) - 1] - node[first] * apart
    count = np.diff(np.append(first, len(node)))
    return np.stack([node[first], begin[first], end, count, np.add.reduceat(flits, first)], axis=1).tolist()


def _seen(phases: Sequence[SimulatedPhase], group: int) -> list[int]:
    """Nodes that have a track in a group."""
    nodes = [phase.packets.source if group == SENDING else phase.packets.target for phase in phases]
    return np.unique(np.concatenate(nodes)).tolist() if nodes else []


def _meta(kind: str, group: int, thread: int, name: str) -> Event:
    return {"ph": "M", "pid": group, "tid": thread, "ts": 0, "name": kind, "args": {"name": name}}
