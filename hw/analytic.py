"""How long traffic takes, without simulating it. Every number is `analytic`; docs/analytic.md has the model.

Sources, links and inputs of routers are servers; `service` says how long a packet occupies each, `flows` how
the traffic uses them, `fluid` how they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arrays import Ints
from .errors import ChipError
from .network import Network
from .router import Router
from .traffic import Packets

if TYPE_CHECKING:
    from .flows import Wires
    from .service import Service

WINDOWS = 16
"""parts of a trace, with as many packets each, in which sources create packets evenly"""
SLOWDOWNS = (1.0, 1.3, 2.0)
"""how much longer than its busiest link alone a backlog may take: picks the times a trace is looked at from"""


class Windows(NamedTuple):
    """When traffic is there: as `fluid.makespans` takes it."""

    ends: NDArray[np.float64]
    """[phases, windows] cycles from the beginning of the phase"""
    arrived: NDArray[np.float64]
    """[senders, windows] share of the sender's flits that is created by then"""


def phase_makespans(
    phase: Ints,
    source: Ints,
    target: Ints,
    flits: Ints,
    phases: int,
    packet_flits: int,
    network: Network,
    router: Router,
) -> NDArray[np.float64]:
    """Cycles of every phase, float64 [phases], 0 without traffic; all transfers of a phase are ready at its beginning.

    `phase`, `source`, `target` (nodes) and `flits` have one entry per transfer, which is sent in packets of
    `packet_flits`; a source takes its targets in turn. Raises ChipError for columns of different length and entries
    that are negative, no integers or out of range, and if packets of a phase may wait for each other in a circle.
    """
    columns = {"phase": phase, "source": source, "target": target, "flits": flits}
    limits = {"phase": phases, "source": network.nodes, "target": network.nodes, "flits": 1 << 53}
    if packet_flits < 1 or phases < 0:
        raise ChipError(f"{phases} phases in packets of {packet_flits} flits: give at least 0 and 1.")
    for name, column in columns.items():
        columns[name] = _column(name, column, len(phase), limits[name])
    sent = columns["flits"] > 0
    phase, source, target, flits = (column[sent] for column in columns.values())
    packets = -(-flits // packet_flits)
    return _makespans(phase, source, target, flits, packets, phases, float(packet_flits), network, router)


def analytic_makespan(packets: Packets, network: Network, router: Router) -> float:
    """Cycles until the last of `packets` is out, 0 without packets; what `Simulation.makespan_cycles` would say.

    The network may have finished everything older before a packet is created; from then on it takes as long as the
    packets still to come take alone (Lindley's recursion, for the network as one server), each source offering no more
    than it has created. So the answer is the largest creation time + that, over all creation times: tried where the
    busiest link alone is worst off. Raises ChipError for a source or target outside the network and one that
    may deadlock.
    """
    from . import fluid

    time = packets.time
    source = _column("source", packets.source, len(time), network.nodes)
    target = _column("target", packets.target, len(time), network.nodes)
    if not len(time):
        return 0.0
    latest = np.argsort(-time, kind="stable")
    length = float(packets.flits.mean())
    service, wires = _compiled(network, router, length)
    backlog = fluid.backlogs(service, wires, source[latest], target[latest], packets.flits[latest])
    begins = time[latest]
    whole = np.append(begins[1:] != begins[:-1], True)
    begins, backlog = begins[whole], backlog[whole]
    starts = np.unique([begins[np.argmax(begins + slow * backlog)] for slow in SLOWDOWNS] + [begins[0]])
    cycles = [_open_makespan(packets, time - start, network, router, length) for start in starts]
    # What is alone in the network does not show in a backlog: no packet comes before its own time and way allow.
    ways = network.ways(source, target)
    alone = time + router.zero_load_cycles(ways.links, packets.flits, ways.link_cycles)
    return float(max((starts + np.array(cycles)).max(), alone.max()))


def _open_makespan(packets: Packets, time: Ints, network: Network, router: Router, length: float) -> float:
    """Cycles until the last of the packets with `time` from 0 on is out; those before do not count."""
    row = np.flatnonzero(time >= 0)
    time, source, flits = time[row], packets.source[row], packets.flits[row]
    ends = np.unique(np.quantile(time, np.linspace(0, 1, WINDOWS + 1), method="higher"))
    ends = ends[ends > 0]
    sender = np.unique(source, return_inverse=True)[1]
    created = np.zeros((sender.max() + 1, len(ends) + 1))
    np.add.at(created, (sender, np.searchsorted(ends, time)), flits)
    there = np.cumsum(created, axis=1)
    windows = Windows(ends[None].astype(np.float64), np.ascontiguousarray((there / there[:, -1:])[:, :-1]))
    rows = (np.zeros_like(row), source, packets.target[row], flits, np.ones_like(flits))
    return float(_makespans(*rows, 1, length, network, router, windows)[0])


def cycles_per_flit(packet_flits: int, network: Network, router: Router) -> float:
    """How long one link takes for a flit of a steady stream of packets."""
    from .service import inject_cycles, link_cycles, service_of

    service, flits = service_of(router, network, float(packet_flits)), float(packet_flits)
    return link_cycles(service, flits, 1.0, inject_cycles(service, flits, 1), 1, 1, False) / flits


def _makespans(
    phase: Ints, source: Ints, target: Ints, flits: Ints, packets: Ints, phases: int, packet_flits: float,
    network: Network, router: Router, windows: Windows | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    from . import fluid
    from .flows import Rows

    if not len(phase):
        return np.zeros(phases)
    service, wires = _compiled(network, router, packet_flits)
    sender = phase * network.nodes + source
    order = np.lexsort((target, sender))  # by target too, so that the order of the rows changes nothing
    in_order = sender[order]
    begin = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1]))
    rows = Rows(
        order,
        np.append(begin, len(order)),
        in_order[begin] % network.nodes,
        target,
        flits.astype(np.float64),
        packets.astype(np.float64),
    )
    if windows is None:
        windows = Windows(np.zeros((phases, 0)), np.zeros((len(begin), 0)))
    found = fluid.makespans(service, wires, rows, in_order[begin] // network.nodes, phases, *windows)
    if np.isnan(found).any():
        raise ChipError(
            f"in phase {int(np.isnan(found).argmax())} packets may wait for each other in a circle of links: the "
            "network may deadlock, and the analytic model has no answer. Use a routing without cycles (XY on a mesh, "
            "or a tree)."
        )
    return found


def _compiled(network: Network, router: Router, packet_flits: float) -> tuple[Service, Wires]:
    # Importing numba takes most of a second, which those who only import the package should not wait for.
    from .flows import Wires
    from .service import service_of

    links = (network.neighbour, network.neighbour_port, network.delay, network.interval)
    return service_of(router, network, packet_flits), Wires(*links, network.routing)


def _column(name: str, given: Ints, length: int, limit: int) -> Ints:
    """The column as int64, with entries from 0 to limit - 1."""
    column = np.asarray(given)
    if column.shape != (length,) or (length and column.dtype.kind not in "iu"):
        raise ChipError(f"{name} must be a row of {length} integers, not {column.dtype} {column.shape}.")
    wrong = (column < 0) | (column >= limit)
    if wrong.any():
        row = int(wrong.argmax())
        raise ChipError(f"{name} {column[row]} in row {row} is outside 0 to {limit - 1}. Correct it.")
    return np.ascontiguousarray(column, np.int64)
