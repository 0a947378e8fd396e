"""The analytic model against BookSim2, against the flit simulator, and what must hold for any traffic."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw.analytic import analytic_makespan, phase_makespans
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.fluid import SETTLED
from cannon_fx.hw.network import Network
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate
from cannon_fx.hw.topologies import chiplets, cmesh, mesh, table, torus, tree
from cannon_fx.hw.traffic import Packets

DATA = Path(__file__).parents[1] / "data" / "noc"
BOOKSIM: dict[str, Any] = json.loads((DATA / "booksim.json").read_text("utf-8"))
MESH = mesh(8, 8)


def router(config: str) -> Router:
    return Router.parse("".join(f"{key} = {value};\n" for key, value in BOOKSIM["configs"][config].items()))[0]


def of_phases(phase: Any, source: Any, target: Any, flits: Any, network: Network, model: Router) -> list[float]:
    columns = [np.array(column, np.int64) for column in (phase, source, target, flits)]
    phases = int(columns[0].max()) + 1
    return phase_makespans(*columns, phases, 4, network, model).tolist()  # type: ignore[arg-type]


def test_makespans_are_those_of_booksim() -> None:
    found: dict[str, list[float]] = {config: [] for config in BOOKSIM["configs"]}
    for name, case in BOOKSIM["trace_cases"].items():
        packets = Packets.load(DATA / f"{name}.txt")
        for config, result in case["results"].items():
            found[config].append(abs(analytic_makespan(packets, MESH, router(config)) / result["makespan"] - 1))
    misses = [miss for of_config in found.values() for miss in of_config]
    assert statistics.median(misses) < 0.05
    assert max(misses) < 0.20
    # One VC, where packets block each other most.
    assert router("B_siam_like").num_vcs == 1
    assert statistics.median(found["B_siam_like"]) < 0.05


@pytest.mark.parametrize("row", BOOKSIM["single_flow_rate"], ids=lambda row: f"{row['config']}-{row['packet_size']}")
def test_one_flow_streams_at_the_measured_rate(row: dict[str, Any]) -> None:
    size = row["packet_size"]
    packets = Packets.of_rows([(0, 0, 7, size)] * (row["flits"] // size))
    assert analytic_makespan(packets, MESH, router(row["config"])) == pytest.approx(row["makespan"], rel=0.05)


@pytest.mark.parametrize("case", BOOKSIM["zero_load"], ids=lambda case: case["config"])
def test_zero_load_latency_is_exact(case: dict[str, Any]) -> None:
    for flits, by_hops in case["latency_by_hops"].items():
        for hops, cycles in by_hops.items():
            x = min(int(hops), 7)
            alone = Packets.of_rows([(0, 0, x + 8 * (int(hops) - x), int(flits))])
            assert analytic_makespan(alone, MESH, router(case["config"])) == pytest.approx(cycles, abs=1e-6)


def test_a_packet_created_later_ends_later() -> None:
    early, late = Packets.of_rows([(0, 3, 44, 4)]), Packets.of_rows([(1000, 3, 44, 4)])
    assert analytic_makespan(late, MESH, Router()) == analytic_makespan(early, MESH, Router()) + 1000


def test_of_phases_and_of_a_trace_are_one_model() -> None:
    flits = np.zeros((64, 64), np.int64)
    flits[:6, 20:29] = 16
    source, target = np.nonzero(flits)
    packets = Packets.of_matrix(flits, 4)
    phase = of_phases(source * 0, source, target, flits[source, target], MESH, Router())
    assert phase == pytest.approx([analytic_makespan(packets, MESH, Router())])


routers = st.builds(
    Router,
    num_vcs=st.sampled_from([1, 2, 4, 16]),
    vc_buf_size=st.sampled_from([1, 2, 4, 8, 16]),
    routing_delay=st.integers(0, 3),
    st_final_delay=st.integers(1, 2),
    credit_delay=st.integers(0, 2),
    speculative=st.booleans(),
    internal_speedup=st.sampled_from([1.0, 2.0]),
)
networks = st.sampled_from([MESH, torus(4, 4), cmesh(2, 3), tree(20), chiplets(2, 2, 3, 2, package_interval=3)])


@st.composite
def transfers(draw: st.DrawFn, nodes: int) -> list[tuple[int, int, int]]:
    node = st.integers(0, nodes - 1)
    return draw(st.lists(st.tuples(node, node, st.integers(1, 200)), min_size=1, max_size=25))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), network=networks, model=routers)
def test_no_faster_than_light(data: st.DataObject, network: Network, model: Router) -> None:
    source, target, flits = np.array(data.draw(transfers(network.nodes))).T
    cycles = of_phases(flits * 0, source, target, flits, network, model)[0]
    assert np.isfinite(cycles)
    assert cycles >= np.bincount(source, flits).max()
    assert cycles >= np.bincount(target, flits).max()
    hops = network.hops(source, target)
    # Transfers count as packets of their mean length, which may be up to 3 flits below that of the longest.
    ideal = [model.zero_load_cycles(h, min(f, 4)) for h, f in zip(hops.tolist(), flits.tolist(), strict=True)]
    assert cycles >= max(ideal) - 3


@settings(max_examples=40, deadline=None)
@given(data=st.data(), network=networks, model=routers)
def test_no_packet_of_a_trace_comes_before_its_own_way_allows(
    data: st.DataObject, network: Network, model: Router
) -> None:
    node = st.integers(0, network.nodes - 1)
    row = st.tuples(st.integers(0, 400), node, node, st.integers(1, 6))
    packets = Packets.of_rows(data.draw(st.lists(row, min_size=1, max_size=12)))
    hops = network.hops(packets.source, packets.target)
    least = [
        t + model.zero_load_cycles(h, f)
        for t, h, f in zip(packets.time.tolist(), hops.tolist(), packets.flits.tolist(), strict=True)
    ]
    assert analytic_makespan(packets, network, model) >= max(least)


def test_a_short_packet_does_not_hide_a_long_way_begun_before() -> None:
    for rows in ([(0, 0, 3, 4), (5, 1, 1, 2)], [(0, 0, 255, 1), (1, 1, 1, 1)]):
        packets, network = Packets.of_rows(rows), mesh(16, 16)
        assert analytic_makespan(packets, network, Router()) == simulate(packets, network, Router()).makespan_cycles


@settings(max_examples=40, deadline=None)
@given(data=st.data(), network=networks, model=routers, order=st.randoms(use_true_random=False))
def test_order_of_rows_means_nothing(data: st.DataObject, network: Network, model: Router, order: Any) -> None:
    rows = data.draw(transfers(network.nodes))
    shuffled = list(rows)
    order.shuffle(shuffled)
    found = [of_phases([0] * len(rows), *zip(*some, strict=True), network, model)[0] for some in (rows, shuffled)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), network=networks, model=routers)
def test_phases_do_not_see_each_other(data: st.DataObject, network: Network, model: Router) -> None:
    parts = [data.draw(transfers(network.nodes)) for _ in range(3)]
    together = [(phase, *row) for phase, rows in enumerate(parts) for row in rows]
    found = of_phases(*zip(*data.draw(st.permutations(together)), strict=True), network, model)
    alone = [of_phases([0] * len(rows), *zip(*rows, strict=True), network, model)[0] for rows in parts]
    assert found == pytest.approx(alone, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), model=routers)
def test_twice_the_traffic_takes_longer(data: st.DataObject, model: Router) -> None:
    source, target, flits = np.array(data.draw(transfers(64))).T
    once, twice = (of_phases(flits * 0, source, target, flits * 4 * many, MESH, model)[0] for many in (1, 2))
    # Rates count as found when a round changes them by less than SETTLED: either may be off by so much.
    assert once <= twice <= (1 + SETTLED) / (1 - SETTLED) * 2 * once + 1


@settings(max_examples=40, deadline=None)
@given(
    groups=st.tuples(st.integers(1, 10), st.integers(1, 10), st.integers(0, 53), st.integers(0, 53)),
    vcs=st.sampled_from([1, 2, 4, 8]),
    depth=st.sampled_from([4, 8, 10]),
    length=st.sampled_from([1, 4, 8]),
    volume=st.integers(8, 40),
)
def test_all_to_all_is_near_the_simulator(
    groups: tuple[int, int, int, int], vcs: int, depth: int, length: int, volume: int
) -> None:
    sources, targets, first_source, first_target = groups
    flits = np.zeros((64, 64), np.int64)
    flits[first_source : first_source + sources, first_target : first_target + targets] = volume
    packets, model = Packets.of_matrix(flits, length), Router(num_vcs=vcs, vc_buf_size=depth)
    exact = simulate(packets, MESH, model).makespan_cycles
    source, target = np.nonzero(flits)
    ways = model.zero_load_cycles(MESH.hops(source, target), np.asarray(length))
    # The model ends with the farthest way; in the simulator the last packet, of whichever way, comes last.
    assert abs(analytic_makespan(packets, MESH, model) - exact) <= 0.4 * exact + np.ptp(ways)


def test_nothing_takes_no_time() -> None:
    assert analytic_makespan(Packets.of_rows([]), MESH, Router()) == 0
    assert of_phases([1], [3], [4], [0], MESH, Router()) == [0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([0], [64], [1], [4]), "source 64 in row 0"),
        (([0, 0], [1, 1], [2, -1], [4, 4]), "target -1 in row 1"),
        (([5], [1], [2], [4]), "phase 5 in row 0"),
        (([0], [1], [2], [-4]), "flits -4 in row 0"),
        (([0], [1], [2], [float("nan")]), "flits must be a row of 1 integers"),
        (([0], [1, 2], [2], [4]), "source must be a row of 1 integers"),
    ],
)
def test_bad_transfers_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        phase_makespans(*map(np.array, rows), 2, 4, MESH, Router())  # type: ignore[arg-type]


def test_bad_sizes_and_packets_are_refused() -> None:
    one = np.array([1])
    with pytest.raises(ChipError, match="packets of 0 flits"):
        phase_makespans(one * 0, one, one, one, 1, 0, MESH, Router())
    with pytest.raises(ChipError, match="target 64 in row 0"):
        analytic_makespan(Packets.of_rows([(0, 0, 64, 1)]), MESH, Router())


@pytest.mark.parametrize("load", [0.8, 0.9, 1.0, 1.1])
def test_open_traffic_is_not_taken_for_a_burst(load: float) -> None:
    """One VC, three flows over every link of a line: from what the line carries to what it does not."""
    created, source = np.nonzero(np.random.default_rng(0).random((5000, 5)) < load / 9)
    packets = Packets(created, source, source + 3, np.ones_like(created))
    line, model = mesh(8, 1), Router(num_vcs=1, vc_buf_size=10)
    exact = simulate(packets, line, model).makespan_cycles
    assert analytic_makespan(packets, line, model) == pytest.approx(exact, rel=0.05)


def test_packets_that_may_wait_in_a_circle_are_refused() -> None:
    ring = table(6, [(a, (a + 1) % 6) for a in range(6)])
    source = np.arange(6)
    round_trip = Packets(source * 0, source, (source + 2) % 6, source * 0 + 4)
    with pytest.raises(ChipError, match="wait for each other in a circle"):
        analytic_makespan(round_trip, ring, Router(num_vcs=1))
    # Ways that meet in no circle are as good as on any other network.
    some = Packets(source[:3] * 0, source[:3], source[:3] + 2, source[:3] * 0 + 4)
    assert analytic_makespan(some, ring, Router(num_vcs=1)) > 0
