"""The flit simulator against BookSim2, and what must hold for any traffic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.booksim import spec_of
from cannon_fx.hw.router import Router
from cannon_fx.hw.simulator import simulate, stall_cycles
from cannon_fx.hw.traffic import Packets, synthetic

DATA = Path(__file__).parents[1] / "data" / "noc"
BOOKSIM: dict[str, Any] = json.loads((DATA / "booksim.json").read_text("utf-8"))
LONG = ("uniform_0.1_1flit_8x8",)


def router(config: str) -> Router:
    lines = "".join(f"{key} = {value};\n" for key, value in BOOKSIM["configs"][config].items())
    return Router.parse(lines)[0]


def rows(*packets: tuple[int, int, int, int]) -> Packets:
    return Packets.of_rows(list(packets))


MESH = topologies.mesh(8, 8)


@pytest.mark.parametrize("case", BOOKSIM["zero_load"], ids=lambda case: case["config"])
def test_zero_load_latency_is_exact(case: dict[str, Any]) -> None:
    for flits, by_hops in case["latency_by_hops"].items():
        for hops, cycles in by_hops.items():
            x = min(int(hops), 7)
            target = x + 8 * (int(hops) - x)
            found = simulate(rows((0, 0, target, int(flits))), MESH, router(case["config"]))
            assert found.latency_cycles.tolist() == [cycles]
            assert found.flit_hops == int(flits) * int(hops)


def test_the_zero_load_formula_is_what_the_simulator_does() -> None:
    fast, slow = {"routing_delay": 0, "speculative": True}, {"st_final_delay": 2, "vc_alloc_delay": 2}
    for options, flits in (({}, 3), (fast, 3), (slow, 1)):
        model = Router.of(options)
        for hops in range(8):
            found = simulate(rows((5, 0, hops, flits)), MESH, model)
            assert found.latency_cycles.tolist() == [model.zero_load_cycles(hops, flits)]


@pytest.mark.parametrize("row", BOOKSIM["single_flow_rate"], ids=lambda row: f"{row['config']}-{row['packet_size']}")
def test_one_flow_streams_at_the_measured_rate(row: dict[str, Any]) -> None:
    size = row["packet_size"]
    packets = rows(*[(0, 0, 7, size)] * (row["flits"] // size))
    assert simulate(packets, MESH, router(row["config"])).makespan_cycles == pytest.approx(row["makespan"], rel=0.002)


@pytest.mark.parametrize("config", BOOKSIM["configs"])
@pytest.mark.parametrize("name", [case for case in BOOKSIM["trace_cases"] if case not in LONG])
def test_traces_equal_booksim(name: str, config: str) -> None:
    check_trace(name, config)


@pytest.mark.slow
@pytest.mark.parametrize("config", BOOKSIM["configs"])
@pytest.mark.parametrize("name", LONG)
def test_long_traces_equal_booksim(name: str, config: str) -> None:
    check_trace(name, config)


def check_trace(name: str, config: str) -> None:
    case = BOOKSIM["trace_cases"][name]
    expected = case["results"][config]
    found = simulate(Packets.load(DATA / f"{name}.txt"), MESH, router(config))
    assert (len(found.latency_cycles), found.flits) == (case["packets"], case["flits"])
    assert found.makespan_cycles == expected["makespan"]
    # The reference has six digits.
    assert found.mean_packet_latency_cycles == pytest.approx(expected["packet_latency_avg"], rel=1e-5)


def calm(row: dict[str, Any]) -> bool:
    """Below saturation: BookSim2's latency is near that of the same traffic at its lowest rate."""
    same = ("config", "k", "traffic", "packet_size_flits")
    lowest = min(
        other["packet_latency_avg"] for other in BOOKSIM["synthetic"] if all(other[key] == row[key] for key in same)
    )
    return bool(row["packet_latency_avg"] <= 1.25 * lowest)


CALM = [row for row in BOOKSIM["synthetic"] if calm(row)]


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[] if number % 12 == 0 else [pytest.mark.slow]) for number, row in enumerate(CALM)],
    ids=lambda row: "-".join(str(row[key]) for key in list(row)[:5]),
)
def test_synthetic_traffic_below_saturation_within_three_percent(row: dict[str, Any]) -> None:
    """Other random packets than BookSim2's, so this is a mean against a mean; benchmarks/noc.py has all rows."""
    edge, flits, rate = row["k"], row["packet_size_flits"], row["injection_flits_per_node_cycle"]
    warm_up = 3000
    measured = int(30_000 / (edge * edge * rate / flits))
    packets = synthetic(row["traffic"], edge * edge, rate, flits, measured + 2 * warm_up, seed=0)
    latency = simulate(packets, topologies.mesh(edge, edge), router(row["config"])).latency_cycles
    counted = (packets.time >= warm_up) & (packets.time < warm_up + measured)
    assert latency[counted].mean() == pytest.approx(row["packet_latency_avg"], rel=0.03)


@pytest.mark.parametrize("row", BOOKSIM["settings"]["rows"], ids=lambda row: str(row["options"]))
def test_other_router_settings_equal_booksim(row: dict[str, Any]) -> None:
    packets = synthetic("uniform", 25, 0.4, 4, 300, seed=3)
    assert len(packets) == BOOKSIM["settings"]["packets"]
    options = {**router(BOOKSIM["settings"]["base"]).model_dump(), **row["options"]}
    found = simulate(packets, topologies.mesh(5, 5), Router.of(options))
    assert found.makespan_cycles == row["makespan"]
    assert found.mean_packet_latency_cycles == pytest.approx(row["packet_latency_avg"], rel=1e-6)


@pytest.mark.parametrize(
    "row", BOOKSIM["networks"], ids=lambda row: f"{row['network']['topology']}{row['network']['k']}-{row['options']}"
)
def test_other_networks_and_delays_equal_booksim(row: dict[str, Any]) -> None:
    network = spec_of(row["network"]).build()
    packets = synthetic("uniform", network.nodes, row["rate"], row["packet_flits"], 200, seed=7)
    assert len(packets) == row["packets"]
    found = simulate(packets, network, Router.of(row["options"]))
    assert found.makespan_cycles == row["makespan"]
    assert found.mean_packet_latency_cycles == pytest.approx(row["packet_latency_avg"], rel=1e-6)


settings_of_routers = st.fixed_dictionaries(
    {
        "num_vcs": st.integers(1, 5),
        "vc_buf_size": st.integers(1, 6),
        "routing_delay": st.integers(0, 3),
        "sw_alloc_delay": st.integers(1, 2),
        "st_final_delay": st.integers(1, 3),
        "credit_delay": st.integers(0, 3),
        "speculative": st.booleans(),
        "wait_for_tail_credit": st.booleans(),
        "vc_busy_when_full": st.booleans(),
        "input_speedup": st.integers(1, 3),
        "output_speedup": st.integers(1, 2),
        "internal_speedup": st.sampled_from([1.0, 1.5, 2.0]),
    }
)


NETWORKS = {
    "mesh": topologies.mesh(4, 3),
    "torus": topologies.torus(3, 4),
    "ring": topologies.ring(6),
    "cmesh": topologies.cmesh(2, 2, across=3, down=1),
    "tree": topologies.tree(10, arity=3),
    "chiplets": topologies.chiplets(2, 1, 2, 3, package_cycles=4, package_interval=3),
    "table": topologies.table(6, [(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)]),
    "one": topologies.mesh(1, 1),
}


@settings(max_examples=80, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(NETWORKS)), options=settings_of_routers)
def test_every_flit_arrives_on_its_way_and_never_early(data: st.DataObject, name: str, options: dict[str, Any]) -> None:
    network = NETWORKS[name]
    model = Router.of({**options, "num_vcs": max(options["num_vcs"], network.vc_classes)})
    node = st.integers(0, network.nodes - 1)
    packets = rows(*data.draw(st.lists(st.tuples(st.integers(0, 50), node, node, st.integers(1, 9)), max_size=60)))
    found = simulate(packets, network, model)
    # Every flit over every link of its way, by walking the table flit by flit, and out at its node's port.
    crossings = np.zeros_like(found.link_flits)
    for source, target, flits in zip(packets.source, packets.target, packets.flits, strict=True):
        router = network.node_router[source]
        while router != network.node_router[target]:
            crossings[router, network.next_port[router, target]] += flits
            router = network.neighbour[router, network.next_port[router, target]]
        crossings[router, network.next_port[router, target]] += flits
    assert np.array_equal(found.link_flits, crossings)
    assert found.flits == packets.flits.sum()
    assert found.flit_hops == (packets.flits * network.hops(packets.source, packets.target)).sum()
    # Nothing is early; what is not at the source waits in some buffer.
    assert (found.source_wait_cycles >= 0).all()
    assert (stall_cycles(found, packets, network, model) >= 0).all()
    assert (found.waiting_flit_cycles >= 0).all()
    again = simulate(packets, network, model)
    assert np.array_equal(found.latency_cycles, again.latency_cycles)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(NETWORKS)),
    seed=st.integers(0, 99),
    rate=st.floats(0.05, 1.0),
    flits=st.integers(1, 5),
    options=settings_of_routers,
)
def test_numbering_routers_and_nodes_anew_changes_nothing(
    name: str, seed: int, rate: float, flits: int, options: dict[str, Any]
) -> None:
    network = NETWORKS[name]
    model = Router.of({**options, "num_vcs": max(options["num_vcs"], network.vc_classes)})
    packets = synthetic("uniform", network.nodes, rate, flits, 60, seed)
    rng = np.random.default_rng(seed)
    router, node = rng.permutation(network.routers), rng.permutation(network.nodes)  # new number of each
    was, node_was = np.argsort(router), np.argsort(node)
    moved = replace(
        network,
        neighbour=np.where(network.neighbour >= 0, router[network.neighbour], -1)[was],
        routing=network.routing._replace(
            first=network.routing.first[was],
            second=network.routing.second[was],
            node_router=router[network.node_router][node_was],
            node_port=network.routing.node_port[node_was],
        ),
        **{key: getattr(network, key)[was] for key in ("neighbour_port", "delay", "interval", "length", "package")},
    )
    again = simulate(replace(packets, source=node[packets.source], target=node[packets.target]), moved, model)
    found = simulate(packets, network, model)
    assert np.array_equal(again.latency_cycles, found.latency_cycles)
    assert np.array_equal(again.waiting_flit_cycles, found.waiting_flit_cycles[was])


def test_xy_on_a_mesh_is_yx_on_its_transpose() -> None:
    here, there = topologies.mesh(4, 3), topologies.mesh(3, 4, "yx")
    source, target = np.repeat(np.arange(12), 12), np.tile(np.arange(12), 12)
    packets = Packets(np.arange(144) * 100, source, target, np.full(144, 3))
    turned = replace(packets, source=source % 4 * 3 + source // 4, target=target % 4 * 3 + target // 4)
    found, transposed = simulate(packets, here, Router()), simulate(turned, there, Router())
    assert np.array_equal(found.latency_cycles, transposed.latency_cycles)
    by_port = [2, 3, 0, 1, 4]  # east and south, west and north change places
    loads = found.link_flits.reshape(3, 4, 5).transpose(1, 0, 2)[:, :, by_port].reshape(12, 5)
    assert np.array_equal(transposed.link_flits, loads)


def test_waiting_is_found_where_it_happens() -> None:
    # Two flows meet at router 1 and share its link to the east: there the flits of both wait, at its two inputs.
    network, model = topologies.mesh(3, 2), Router()
    flow = [(100 * turn, 0, 2, 1) for turn in range(20)]
    apart = simulate(rows(*flow), network, model)
    assert stall_cycles(apart, rows(*flow), network, model).tolist() == [0] * 20
    # A flit is in a buffer from its arrival until it wins the crossbar: routing, VC and switch, a cycle each.
    assert apart.waiting_flit_cycles[:, 0].tolist() == [20 * 2, 20 * 2, 0, 0, 0, 0]
    assert apart.waiting_flit_cycles[:, 4].tolist() == [20 * 2, 0, 0, 0, 0, 0]
    # The other flow is created as much later as the first takes to router 1, and goes the same way from there.
    meeting = [row for time, *_ in flow for row in ((time, 0, 2, 1), (time + 5, 1, 2, 1))]
    both = simulate(rows(*meeting), network, model)
    stalled = stall_cycles(both, rows(*meeting), network, model)
    assert stalled.sum() == 20  # one cycle for one of each two
    assert both.source_wait_cycles.tolist() == [0] * 40
    extra = both.waiting_flit_cycles - apart.waiting_flit_cycles
    assert extra[0, 0] + extra[1, 4] == 20 * 2 + 20
    assert extra[1, 0] == 20 * 2


@pytest.mark.parametrize("options", [{}, {"speculative": True, "routing_delay": 0}, {"routing_delay": 3}])
@pytest.mark.parametrize("interval", [1, 2, 5])
def test_a_narrow_link_carries_one_flit_per_interval(interval: int, options: dict[str, Any]) -> None:
    model = Router.of({"vc_buf_size": 20, **options})
    network = topologies.chiplets(2, 1, 2, 1, package_interval=interval)
    for target in (2, 3):
        for flits in (1, 2, 3, 30):
            packets = rows((0, 0, target, flits))
            found = simulate(packets, network, model)
            assert stall_cycles(found, packets, network, model).tolist() == [0]
    # Two of the packets of 30 flits take 30 intervals more than one: the link is what they wait for.
    two = simulate(rows((0, 0, 3, 30), (0, 0, 3, 30)), network, model)
    assert two.makespan_cycles - found.makespan_cycles == 30 * interval


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(0, 20), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
    config=st.sampled_from(list(BOOKSIM["configs"])),
)
def test_flows_that_share_nothing_do_not_see_each_other(times: list[int], order: Any, config: str) -> None:
    alone = simulate(rows(*((t, 0, 3, 4) for t in sorted(times))), MESH, router(config))
    both = [(t, 8 * y, 8 * y + 3, 4) for t in sorted(times) for y in (0, 6)]
    order.shuffle(both)
    found = simulate(rows(*both), MESH, router(config))
    for source in (0, 48):
        mine = [latency for latency, row in zip(found.latency_cycles, both, strict=True) if row[1] == source]
        assert sorted(mine) == sorted(alone.latency_cycles)


def test_idle_time_costs_nothing_and_shifts_everything() -> None:
    near = simulate(rows((0, 0, 9, 2)), MESH, Router())
    far = simulate(rows((0, 0, 9, 2), (10**12, 0, 9, 2)), MESH, Router())
    assert far.latency_cycles.tolist() == near.latency_cycles.tolist() * 2
    assert far.makespan_cycles == 10**12 + near.makespan_cycles
    assert simulate(rows(), MESH, Router()).makespan_cycles == 0


def test_a_tree_routes_by_table_and_a_ring_that_locks_says_so() -> None:
    tree = topologies.table(7, [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)])
    packets = rows((0, 3, 4, 3), (0, 3, 6, 2), (0, 5, 5, 1))
    assert tree.hops(packets.source, packets.target).tolist() == [2, 4, 0]
    assert simulate(packets, tree, Router()).flit_hops == 3 * 2 + 2 * 4
    ring = topologies.table(4, [(0, 1), (1, 2), (2, 3), (3, 0)])
    circle = rows(*((0, s, (s + 2) % 4, 40) for s in range(4) for _ in range(3)))
    blocked = replace(ring, routing=ring.routing._replace(first_way=clockwise(ring)))
    with pytest.raises(ChipError, match="deadlocked at cycle"):
        simulate(circle, blocked, Router(num_vcs=1, vc_buf_size=2))


def clockwise(ring: Any) -> Any:
    """The ring's routing table when everything goes to the next higher number."""
    table = ring.routing.first_way.copy()
    for router in range(4):
        onward = ring.neighbour[router].tolist().index((router + 1) % 4)
        table[router, np.arange(4) != router] = onward
    return table


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        ((0, 0, 64, 1), "target 64 of packet 0 lies outside"),
        ((0, -1, 3, 1), "source -1 of packet 0 lies outside"),
        ((-1, 0, 3, 1), "time -1 of packet 0"),
        ((0, 0, 3, 0), "flits 0 of packet 0"),
    ],
)
def test_impossible_packets_are_refused(packet: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ChipError, match=message):
        simulate(rows(packet), MESH, Router())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num_vcs = 0;", "num_vcs"),
        ("num_vcs = 2.5;", "num_vcs"),
        ("vc_buf_size = 4", "does not end with"),
        ("what is this;", "cannot read"),
        ("hold_switch_for_packet = 1;", "hold_switch_for_packet = 1 is not modelled"),
        ("sw_allocator = wavefront;", "wavefront"),
        ("nonsense = 1;", "nonsense is not an option"),
        ("internal_speedup = 0.5;", "internal_speedup"),
        ("st_final_delay = 0;", "at least 1 cycle"),
        ("speculative = 1; vc_alloc_delay = 2;", "vc_alloc_delay above"),
    ],
)
def test_router_files_outside_the_model_are_refused(text: str, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        Router.parse(text)


def test_router_files_read_as_booksim_reads_them() -> None:
    model, network = Router.parse(
        "// a comment\ntopology = mesh; k = 16;\nnum_vcs=3 ; // more\ninternal_speedup = 2.0;"
    )
    assert model == Router(num_vcs=3, internal_speedup=2.0)
    assert network == {"topology": "mesh", "k": 16}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Packets.parse("0 1 2"), "line 1"),
        (lambda: Packets.of_matrix(np.ones((2, 3)), 1), "square"),
        (lambda: Packets.of_matrix(np.array([[0, np.nan], [1, 0]]), 1), "finite"),
        (lambda: Packets.of_matrix(np.array([[0, -1], [1, 0]]), 1), "negative"),
        (lambda: simulate(rows((0, 0, 1, 1)), topologies.torus(3, 3), Router(num_vcs=1)), "1 VCs cannot be divided"),
        (lambda: synthetic("uniform", 64, -0.1, 1, 10), "rate"),
        (lambda: synthetic("swirl", 64, 0.1, 1, 10), "unknown traffic pattern"),
        (lambda: synthetic("transpose", 60, 0.1, 1, 10), "even power of two"),
    ],
)
def test_impossible_traffic_and_networks_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        make()


def test_a_matrix_becomes_packets_of_the_asked_length() -> None:
    matrix = np.array([[0, 7], [2, 0]])
    packets = Packets.of_matrix(matrix, 3, interval_cycles=5)
    again = np.zeros_like(matrix)
    np.add.at(again, (packets.source, packets.target), packets.flits)
    assert np.array_equal(again, matrix)
    assert packets.flits.tolist() == [3, 2, 3, 1]
    assert packets.time.tolist() == [0, 0, 5, 10]


def test_what_no_memory_holds_is_refused_before_it_is_asked_for() -> None:
    packet = rows((0, 0, 5, 1))
    with pytest.raises(ChipError, match="Lower vc_buf_size or num_vcs"):
        simulate(packet, topologies.mesh(64, 64), Router(num_vcs=16, vc_buf_size=100_000))
    far = topologies.chiplets(2, 2, 2, 2, package_cycles=10**12)
    with pytest.raises(ChipError, match="Lower the longest"):
        simulate(packet, far, Router())


def test_what_would_run_for_days_is_refused() -> None:
    with pytest.raises(ChipError, match="flits times links are too many"):
        simulate(rows((0, 0, 63, 2**31 - 1)), MESH, Router())
