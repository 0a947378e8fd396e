"""The trace that Perfetto opens: its own rules for a valid one, and the simulation's figures in it."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.perfetto import LINKS, PHASES, RECEIVING, SENDING, SimulatedPhase, to_perfetto
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.topologies import mesh
from cannon_fx.hw.traffic import Packets

Rows = list[tuple[int, int, int, int]]

NETWORK = mesh(3, 2)
rows = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=25
)


def traced(
    phases: list[list[tuple[int, int, int, int]]], clock_ghz: float
) -> tuple[list[SimulatedPhase], dict[str, Any]]:
    packets = [Packets.of_rows(phase) for phase in phases]
    found = [SimulatedPhase(f"phase {n}", p, simulate(p, NETWORK, Router())) for n, p in enumerate(packets)]
    return found, json.loads(to_perfetto(found, NETWORK, clock_ghz))


@settings(deadline=None, max_examples=30)
@given(st.lists(rows, min_size=1, max_size=3))
def test_valid_and_true(phases: list[Rows]) -> None:
    found, trace = traced(phases, 2.0)
    events = [event for event in trace["traceEvents"] if event["ph"] != "M"]
    assert {event["ph"] for event in trace["traceEvents"]} <= {"M", "X", "C"}
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)

    # Slices of one track neither overlap nor have no length.
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] > 0
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for slices in tracks.values():
        assert all(end <= begin + 1e-9 for (_, end), (begin, _) in pairwise(slices))

    # One cycle at 2 GHz is half a nanosecond; phases follow one another.
    spans = tracks[PHASES, 1]
    makespans = [phase.simulation.makespan_cycles for phase in found]
    assert np.allclose(spans, [(sum(makespans[:n]) / 2000, sum(makespans[: n + 1]) / 2000) for n in range(len(found))])

    # Every packet lies in a slice of its source, and one of its target.
    for number, phase in enumerate(found):
        start = sum(makespans[:number])
        for group, nodes in ((SENDING, phase.packets.source), (RECEIVING, phase.packets.target)):
            of_phase = [e for e in events if e["ph"] == "X" and e["pid"] == group and e["name"] == phase.name]
            assert sum(e["args"]["packets"] for e in of_phase) == len(phase.packets)
            assert sum(e["args"]["flits"] for e in of_phase) == phase.simulation.flits
            ends = phase.packets.time + phase.simulation.latency_cycles
            for node, begin, end in zip(nodes.tolist(), phase.packets.time, ends, strict=True):
                begin, end = (start + begin) / 2000, (start + end) / 2000
                assert any(b - 1e-9 <= begin and end <= e + 1e-9 for b, e in tracks[group, node + 1])

    # A link's mean load times the cycles is the flits that crossed it; at the end all counters are back at 0.
    carried = 0.0
    last: dict[str, dict[str, float]] = {}
    lengths = dict(zip([round(begin, 9) for begin, _ in spans], makespans, strict=True))
    for event in events:
        if event["ph"] == "C":
            assert event["pid"] == LINKS
            last.setdefault(event["name"], {}).update(event["args"])
            carried += sum(event["args"].values()) * lengths.get(event["ts"], 0)
    assert carried == pytest.approx(sum(phase.simulation.flit_hops for phase in found), rel=1e-3, abs=1e-2)
    assert not any(value for counters in last.values() for value in counters.values())


def test_units_and_names_are_stated() -> None:
    _, trace = traced([[(0, 0, 5, 1)]], 0.5)
    assert trace["otherData"] == {"clock_ghz": 0.5, "microseconds_per_cycle": 0.002}
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
    assert {"phases", "nodes sending", "nodes receiving", "node 0", "node 5"} <= names


@pytest.mark.parametrize("clock_ghz", [0.0, -1.0, float("nan"), float("inf")])
def test_clock_that_cannot_be(clock_ghz: float) -> None:
    with pytest.raises(ChipError, match="clock_ghz"):
        to_perfetto([], NETWORK, clock_ghz)
