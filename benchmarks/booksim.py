"""The reference: what BookSim2 measured (tests/data/noc), as the benchmarks of the network read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cannon_fx.hw.network import Network
from cannon_fx.hw.router import Router
from cannon_fx.hw.topologies import mesh
from cannon_fx.hw.traffic import Packets

DATA = Path(__file__).parents[1] / "tests" / "data" / "noc"


@dataclass(frozen=True)
class Case:
    """A trace on a router, and BookSim2's `results`: cycles of the makespan and of the mean latency."""

    name: str
    config: str
    packets: Packets
    network: Network
    router: Router
    results: dict[str, float]


def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / "booksim.json").read_text("utf-8"))
    return found


def routers(reference: dict[str, Any]) -> dict[str, Router]:
    return {
        name: Router.parse("".join(f"{key} = {value};\n" for key, value in config.items()), name)[0]
        for name, config in reference["configs"].items()
    }


def traces(reference: dict[str, Any]) -> Iterator[Case]:
    for name, case in reference["trace_cases"].items():
        packets, network = Packets.load(DATA / f"{name}.txt"), mesh(case["k"], case["k"])
        for config, router in routers(reference).items():
            yield Case(name, config, packets, network, router, case["results"][config])
