"""Networks in a few words build what the topologies build."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.network_spec import NetworkSpec


@pytest.mark.parametrize(
    ("spec", "routers", "farthest"),
    [
        (NetworkSpec("mesh", 4, 6), 24, 3 + 5),
        (NetworkSpec("torus", 4, 6), 24, 2 + 3),
        (NetworkSpec("ring", 4, 3), 12, 6),
        (NetworkSpec("cmesh", 4, 6, block=(2, 3)), 4, 1 + 1),
        (NetworkSpec("tree", 4, 4, arity=4), 5, 2),
        (NetworkSpec("chiplets", 4, 6, block=(2, 3)), 24, 3 + 5),
    ],
)
def test_build(spec: NetworkSpec, routers: int, farthest: int) -> None:
    network = spec.build()
    assert (network.nodes, network.routers) == (spec.nodes, routers)
    source, target = divmod(np.arange(spec.nodes**2), spec.nodes)
    assert network.hops(source, target).max() == farthest


def test_links_between_chiplets() -> None:
    network = NetworkSpec("chiplets", 4, 2, block=(2, 2), package_cycles=5, package_interval=3).build()
    assert network.package.sum() == 2 * 2
    assert set(network.delay[network.package]) == {5}
    assert set(network.interval[network.package]) == {3}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"topology": "star"}, "unknown topology 'star'"),
        ({"columns": 0}, "0 x 4 nodes"),
        ({"columns": -4, "rows": -4}, "-4 x -4 nodes"),
        ({"columns": 1000, "rows": 1000}, "at most 65536"),
        ({"topology": "torus", "routing": "yx"}, "is for meshes"),
        ({"topology": "cmesh", "block": (3, 2)}, "routers of 3 x 2"),
        ({"topology": "chiplets", "block": (0, 2)}, "chiplets of 0 x 2"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ChipError, match=problem):
        NetworkSpec(**{"topology": "mesh", "columns": 4, "rows": 4} | options)
