"""BookSim2's files: what is written is read back as the same router, network and packets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.booksim import CONFIG, TRACE, spec_of, to_booksim
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
specs = st.one_of(
    st.builds(lambda k: NetworkSpec("mesh", k, k), st.integers(2, 64)),
    st.builds(lambda k: NetworkSpec("torus", k, k), st.integers(2, 64)),
    st.builds(lambda k: NetworkSpec("ring", k, 1), st.integers(2, 64)),
    st.builds(lambda k: NetworkSpec("mesh", k, 1), st.integers(2, 64)),
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


@pytest.mark.parametrize(
    "spec",
    [NetworkSpec("mesh", 8, 4), NetworkSpec("mesh", 4, 4, "yx"), NetworkSpec("tree", 4, 4), NetworkSpec("torus", 4, 2)],
)
def test_networks_that_booksim_does_not_have(spec: NetworkSpec) -> None:
    with pytest.raises(ChipError, match="BookSim2 has no"):
        to_booksim(Packets.of_rows([(0, 0, 1, 1)]), Router(), spec)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("topology = fly; k = 4;", "topology = fly"),
        ("topology = mesh; routing_function = valiant; k = 4;", "routing_function = valiant is not modelled"),
        ("topology = mesh; n = 3; k = 4;", "n = 3"),
        ("topology = mesh; k = 2.5;", "k = 2.5"),
    ],
)
def test_configurations_without_a_network(config: str, problem: str) -> None:
    with pytest.raises(ChipError, match=problem):
        spec_of(Router.parse(config)[1], "a.cfg")
