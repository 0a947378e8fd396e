"""BookSim2: a configuration in its own grammar, and the traffic as a trace beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ChipError
from ..network_spec import NetworkSpec
from ..router import Router
from ..traffic import Packets

_ROUTING = {"mesh": "dim_order", "torus": "dim_order", "cmesh": "dor_no_express"}

CONFIG, TRACE = "booksim.cfg", "trace.txt"

_NOTE = """\
// {packets} packets, {flits} flits in {cycles} cycles: {trace}, one packet a row: time source target flits.
// Stock BookSim2 reads no traces. As it stands, this file runs uniform traffic of the same mean rate; to replay the
// packets themselves, read {trace} in a traffic manager of your own.
"""


def to_booksim(packets: Packets, router: Router, spec: NetworkSpec) -> dict[str, str]:
    """File name -> text: `booksim.cfg`, which `Router.parse` reads back as the same router, and `trace.txt`.

    Raises ChipError for a network that BookSim2 does not have.
    """
    flits = int(packets.flits.sum())
    # A burst takes the cycles in which its busiest source can send it, one flit each.
    busiest = np.bincount(packets.source, packets.flits).max(initial=1)
    cycles = int(max(packets.time.max(initial=0) + 1, busiest))
    # One length for all packets there, so the mean one, at the rate that keeps the flits.
    length = max(round(flits / len(packets)), 1) if len(packets) else 1
    traffic = {
        "traffic": "uniform",
        "injection_rate": round(flits / (cycles * spec.nodes), 9),
        "injection_rate_uses_flits": 1,
        "packet_size": length,
    }
    settings = network_keys(spec) | router.model_dump() | traffic
    note = _NOTE.format(packets=len(packets), flits=flits, cycles=cycles, trace=TRACE)
    lines = [f"{key} = {int(value) if isinstance(value, bool) else value};" for key, value in settings.items()]
    return {CONFIG: note + "\n".join(lines) + "\n", TRACE: "# time source target flits\n" + packets.dump()}


def network_keys(spec: NetworkSpec) -> dict[str, Any]:
    """The options that describe a network. Raises ChipError for one that BookSim2 does not have."""
    # Its links take a cycle per tile pitch, and without use_noc_latency one each; its ring is a folded torus.
    noc_latency = {(1, False): 1, (1, True): 0}
    keys: dict[str, Any] = {}
    if spec.topology == "ring":
        keys = {"topology": "torus", "k": spec.nodes, "n": 1}
        noc_latency = {(2, False): 1, (2, True): 1, (1, False): 0, (1, True): 0}
    elif spec.topology == "mesh" and spec.rows == 1:
        keys = {"topology": "mesh", "k": spec.columns, "n": 1}
    elif spec.topology in ("mesh", "torus") and spec.columns == spec.rows:
        keys = {"topology": spec.topology, "k": spec.columns, "n": 2}
    elif spec.topology == "cmesh" and spec.columns == spec.rows and spec.block == (2, 2):
        k = spec.columns // 2
        keys = {"topology": "cmesh", "k": k, "n": 2, "c": 4, "x": k, "y": k, "xr": 2, "yr": 2}
    links = (spec.link_cycles, spec.uniform_links)
    if not keys or links not in noc_latency or spec.routing != "xy":
        raise ChipError(
            f"BookSim2 has no {spec.topology} of {spec.grid} nodes with routing {spec.routing!r} and links of "
            f"{spec.link_cycles} cycles: only square meshes, tori and cmeshes with 2 x 2 nodes per router, rows and "
            "rings, XY routing, and links of one cycle per tile pitch. Choose another format."
        )
    return keys | {"routing_function": _ROUTING[keys["topology"]], "use_noc_latency": noc_latency[links]}


def spec_of(keys: Mapping[str, Any], origin: str = "config") -> NetworkSpec:
    """The network of a configuration, `keys` as `Router.parse` hands them back; what is missing is of an 8 x 8 mesh.

    `mesh` and `torus` with n = 1 or 2 and `dim_order`, `cmesh` with c = 4 and `dor_no_express`. On a torus with an even
    k BookSim2 draws lots between two ways of equal length; here it is the one east or south. Raises
    ChipError for anything else; `origin` names the configuration there.
    """
    topology = keys.get("topology", "mesh")
    if topology not in _ROUTING:
        raise ChipError(f"{origin}: topology = {topology} is not modelled; choose {', '.join(_ROUTING)}.")
    routing = keys.get("routing_function", _ROUTING[topology])
    if routing != _ROUTING[topology]:
        raise ChipError(
            f"{origin}: routing_function = {routing} is not modelled on a {topology}; only {_ROUTING[topology]} is."
        )
    sizes = {name: keys.get(name, default) for name, default in (("k", 8), ("n", 2), ("use_noc_latency", 1))}
    for name, value in sizes.items():
        if not isinstance(value, int):
            raise ChipError(f"{origin}: {name} = {value!r} is no whole number.")
    k, n = sizes["k"], sizes["n"]
    if n not in (1, 2) or (topology == "cmesh" and n == 1):
        raise ChipError(f"{origin}: n = {n} dimensions of a {topology} are not modelled; give 2.")
    only = {"c": 4, "x": k, "y": k, "xr": 2, "yr": 2} if topology == "cmesh" else {"c": 1}
    for name, size in only.items():
        if keys.get(name, size) != size:
            raise ChipError(
                f"{origin}: {name} = {keys[name]} is not modelled on a {topology} with k = {k}; give {size}."
            )
    uniform = not sizes["use_noc_latency"]
    if topology == "cmesh":
        return NetworkSpec("cmesh", 2 * k, 2 * k, uniform_links=uniform)
    if n == 2:
        return NetworkSpec(topology, k, k, uniform_links=uniform)
    if topology == "mesh":
        return NetworkSpec("mesh", k, 1, uniform_links=uniform)
    return NetworkSpec("ring", k, 1, link_cycles=1 if uniform else 2)
