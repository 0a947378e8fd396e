"""BookSim2: a configuration in its own grammar, and the traffic as a trace beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ChipError
from ..network_spec import NetworkSpec
from ..router import Router
from ..traffic import Packets

_ROUTING = {"mesh": ("dim_order", "dor"), "torus": ("dim_order",)}

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
    cycles = int(packets.time.max()) + 1 if len(packets) else 1
    # One length for all packets there, so the mean one, at the rate that keeps the flits.
    length = max(round(flits / len(packets)), 1) if len(packets) else 1
    traffic = {
        "traffic": "uniform",
        "injection_rate": round(min(flits / (cycles * spec.nodes), length), 9),
        "injection_rate_uses_flits": 1,
        "packet_size": length,
    }
    settings = network_keys(spec) | router.model_dump() | traffic
    note = _NOTE.format(packets=len(packets), flits=flits, cycles=cycles, trace=TRACE)
    lines = [f"{key} = {int(value) if isinstance(value, bool) else value};" for key, value in settings.items()]
    return {CONFIG: note + "\n".join(lines) + "\n", TRACE: "# time source target flits\n" + packets.dump()}


def network_keys(spec: NetworkSpec) -> dict[str, Any]:
    """The options that describe a network. Raises ChipError for one that BookSim2 does not have."""
    if spec.topology in ("mesh", "torus") and spec.columns == spec.rows and spec.routing == "xy":
        return {"topology": spec.topology, "k": spec.columns, "n": 2, "routing_function": "dim_order"}
    if spec.topology == "ring":
        return {"topology": "torus", "k": spec.nodes, "n": 1, "routing_function": "dim_order"}
    if spec.topology == "mesh" and spec.rows == 1:
        return {"topology": "mesh", "k": spec.columns, "n": 1, "routing_function": "dim_order"}
    raise ChipError(
        f"BookSim2 has no {spec.topology} of {spec.grid} nodes with routing {spec.routing!r}: only square meshes and "
        "tori with XY routing, rows and rings. Choose another format."
    )


def spec_of(keys: Mapping[str, Any], origin: str) -> NetworkSpec:
    """The network of a configuration, with BookSim2's defaults; `keys` as `Router.parse` hands them back.

    Raises ChipError for what is not modelled.
    """
    topology, routing = keys.get("topology", "torus"), keys.get("routing_function", "dim_order")
    k, n = keys.get("k", 8), keys.get("n", 2)
    if routing not in _ROUTING.get(topology, ()):
        known = "; ".join(f"{name} with {' or '.join(routings)}" for name, routings in _ROUTING.items())
        raise ChipError(
            f"{origin}: topology = {topology} with routing_function = {routing} is not modelled; only {known}."
        )
    if not isinstance(k, int) or n not in (1, 2):
        raise ChipError(f"{origin}: k = {k}, n = {n} is not modelled; only whole k and one or two dimensions are.")
    if n == 2:
        return NetworkSpec(topology, k, k)
    return NetworkSpec("ring" if topology == "torus" else topology, k, 1)
