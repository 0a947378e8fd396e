"""Networks from the keys of BookSim2 configs."""

from __future__ import annotations

import numpy as np
import pytest

from cannon_fx.hw import topologies
from cannon_fx.hw.booksim import network_of
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.network import Network
from cannon_fx.hw.router import Router


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
    found = network_of(Router.parse(text)[1])
    for name in ("neighbour", "delay", "next_port", "node_router", "vc_class"):
        assert np.array_equal(getattr(found, name), getattr(network, name))


def test_without_noc_latency_every_link_takes_one_cycle() -> None:
    assert set(network_of({"topology": "torus", "k": 4, "use_noc_latency": 0}).delay.ravel()) == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topology = dragonfly;", "topology = dragonfly"),
        ("topology = mesh; n = 3;", "n = 3 dimensions of a mesh"),
        ("topology = mesh; routing_function = romm;", "routing_function = romm"),
        ("topology = mesh; k = 2.5;", "k = 2.5 is no whole number"),
        ("topology = mesh; k = 0;", "columns = 0"),
        ("topology = mesh; c = 4;", "c = 4 nodes per router of a mesh"),
        ("topology = cmesh; k = 4; x = 3;", "x = 3 does not fit"),
        ("topology = cmesh; routing_function = dor;", "only dor_no_express"),
    ],
)
def test_networks_outside_the_model_are_refused(text: str, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        network_of(Router.parse(text)[1])
