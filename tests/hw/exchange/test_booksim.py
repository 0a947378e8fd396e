"""BookSim2's files: what is written is read back as the same router, network and packets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw import topologies
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.booksim import CONFIG, TRACE, spec_of, to_booksim
from cannon_fx.hw.network import Network
from cannon_fx.hw.network_spec import NetworkSpec
from cannon_fx.hw.router import Router
from cannon_fx.hw.traffic import Packets

Rows = list[tuple[int, int, int, int]]

routers = st.builds(
    Router,
    num_vcs=st.integers(2, 60),
    vc_buf_size=st.integers(1, 99),
    routing_delay=st.integers(0, 9),
    vc_alloc_delay=st.just(1),
    sw_alloc_delay=st.integers(1, 9),
    st_final_delay=st.integers(1, 9),
    credit_delay=st.integers(0, 9),
    speculative=st.booleans(),
    wait_for_tail_credit=st.booleans(),
    input_speedup=st.integers(1, 16),
    internal_speedup=st.sampled_from([1.0, 1.5, 2.0]),
)
sizes, uniform = st.integers(2, 64), st.booleans()
specs = st.one_of(
    st.builds(lambda k, u: NetworkSpec("mesh", k, k, uniform_links=u), sizes, uniform),
    st.builds(lambda k, u: NetworkSpec("torus", k, k, uniform_links=u), sizes, uniform),
    st.builds(lambda k, u: NetworkSpec("cmesh", 2 * k, 2 * k, uniform_links=u), sizes, uniform),
    st.builds(lambda k, u: NetworkSpec("mesh", k, 1, uniform_links=u), sizes, uniform),
    st.builds(lambda k, cycles: NetworkSpec("ring", k, 1, link_cycles=cycles), sizes, st.sampled_from([1, 2])),
)
rows = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 63), st.integers(0, 63), st.integers(1, 99)), max_size=20
)


@settings(deadline=None)
@given(routers, specs, rows)
def test_reads_back_what_was_written(
    router: Router, spec: NetworkSpec, packets: list[tuple[int, int, int, int]]
) -> None:
    files = to_booksim(Packets.of_rows(packets), router, spec)
    again, keys = Router.parse(files[CONFIG])
    assert again == router
    assert spec_of(keys, CONFIG) == spec
    read = Packets.parse(files[TRACE])
    assert list(zip(read.time, read.source, read.target, read.flits, strict=True)) == packets


def test_the_stand_in_traffic_offers_the_same_flits() -> None:
    packets = Packets.of_rows([(t, t % 16, 3, 4) for t in range(80)])
    config = to_booksim(packets, Router(), NetworkSpec("mesh", 4, 4))[CONFIG]
    said = dict(line.rstrip(";").split(" = ") for line in config.splitlines() if not line.startswith("//"))
    assert said["packet_size"] == "4"
    assert said["injection_rate_uses_flits"] == "1"
    assert float(said["injection_rate"]) == pytest.approx(80 * 4 / (80 * 16))
    assert "reads no traces" in config


def test_a_burst_is_offered_over_the_cycles_that_its_busiest_source_needs() -> None:
    packets = Packets.of_rows([(0, 0, 1, 30), (0, 0, 2, 10), (0, 3, 2, 20)])
    config = to_booksim(packets, Router(), NetworkSpec("mesh", 2, 2))[CONFIG]
    assert f"injection_rate = {60 / (40 * 4)};" in config


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("mesh", 8, 4),
        NetworkSpec("mesh", 4, 4, "yx"),
        NetworkSpec("mesh", 4, 4, link_cycles=2),
        NetworkSpec("tree", 4, 4),
        NetworkSpec("torus", 4, 2),
        NetworkSpec("cmesh", 6, 6, block=(3, 3)),
        NetworkSpec("chiplets", 4, 4),
    ],
)
def test_networks_that_booksim_does_not_have(spec: NetworkSpec) -> None:
    with pytest.raises(ChipError, match="BookSim2 has no"):
        to_booksim(Packets.of_rows([(0, 0, 1, 1)]), Router(), spec)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("", topologies.mesh(8, 8)),
        ("topology = mesh; k = 5; n = 1; routing_function = dim_order;", topologies.mesh(5, 1)),
        ("topology = torus; k = 5;", topologies.torus(5, 5)),
        ("topology = torus; k = 9; n = 1;", topologies.ring(9, link_cycles=2)),
        ("topology = cmesh; k = 4; c = 4; x = 4; y = 4; xr = 2; yr = 2;", topologies.cmesh(4, 4)),
    ],
)
def test_keys_name_a_network(text: str, network: Network) -> None:
    found = spec_of(Router.parse(text)[1]).build()
    for name in ("neighbour", "delay", "next_port", "node_router", "vc_class"):
        assert np.array_equal(getattr(found, name), getattr(network, name))


def test_without_noc_latency_every_link_takes_one_cycle() -> None:
    assert set(spec_of({"topology": "torus", "k": 4, "use_noc_latency": 0}).build().delay.ravel()) == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topology = dragonfly;", "topology = dragonfly"),
        ("topology = mesh; n = 3;", "n = 3 dimensions of a mesh"),
        ("topology = mesh; routing_function = romm;", "routing_function = romm"),
        ("topology = mesh; k = 2.5;", "k = 2.5 is no whole number"),
        ("topology = mesh; k = 0;", "0 x 0 nodes"),
        ("topology = mesh; c = 4;", "c = 4 is not modelled on a mesh"),
        ("topology = cmesh; k = 4; x = 3;", "x = 3 is not modelled"),
        ("topology = cmesh; routing_function = dor;", "only dor_no_express"),
    ],
)
def test_networks_outside_the_model_are_refused(text: str, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        spec_of(Router.parse(text)[1]).build()
