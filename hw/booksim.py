"""The network that a BookSim2 config describes with its keys `topology`, `k`, `n`, `c`, `routing_function`, ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from . import topologies
from .errors import ChipError
from .network import Network

_ROUTING = {"mesh": "dim_order", "torus": "dim_order", "cmesh": "dor_no_express"}


def network_of(keys: Mapping[str, str | int | float], origin: str = "config") -> Network:
    """The network of these keys; what is missing is that of an 8x8 mesh. `origin` names the config in errors.

    `mesh` and `torus` with n = 1 or 2 and `dim_order`, `cmesh` with c = 4 and `dor_no_express`. On a torus with an even
    k BookSim2 draws lots between two ways of equal length; here it is the one east or south. Raises
    ChipError for anything else.
    """
    topology = str(keys.get("topology", "mesh"))
    if topology not in _ROUTING:
        raise ChipError(f"{origin!r}: topology = {topology} is not modelled; choose {', '.join(_ROUTING)}.")
    routing = str(keys.get("routing_function", _ROUTING[topology]))
    if routing != _ROUTING[topology]:
        raise ChipError(
            f"{origin!r}: routing_function = {routing} is not modelled on a {topology}; only {_ROUTING[topology]} is."
        )
    sizes = {"k": 8, "n": 2, "c": 4 if topology == "cmesh" else 1, "use_noc_latency": 1}
    for name in sizes:
        value = keys.get(name, sizes[name])
        if not isinstance(value, int):
            raise ChipError(f"{origin!r}: {name} = {value!r} is no whole number.")
        sizes[name] = value
    k, n = sizes["k"], sizes["n"]
    if n not in (1, 2) or (topology == "cmesh" and n == 1):
        raise ChipError(f"{origin!r}: n = {n} dimensions of a {topology} are not modelled; give 2.")
    if sizes["c"] != (4 if topology == "cmesh" else 1):
        raise ChipError(f"{origin!r}: c = {sizes['c']} nodes per router of a {topology} are not modelled.")
    if topology == "cmesh":
        wanted = {"x": k, "y": k, "xr": 2, "yr": 2}
        for name, size in wanted.items():
            if keys.get(name, size) != size:
                raise ChipError(f"{origin!r}: {name} = {keys[name]} does not fit a cmesh with k = {k}; give {size}.")
        network = topologies.cmesh(k, k)
    elif topology == "mesh":
        network = topologies.mesh(k, k if n == 2 else 1)
    else:
        network = topologies.torus(k, k) if n == 2 else topologies.ring(k, link_cycles=2)
    return network if sizes["use_noc_latency"] else replace(network, delay=np.ones_like(network.delay))
