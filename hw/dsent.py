"""Energy, power and area of routers and links after DSENT 0.91, by technology: look-up in a table of our measurements.

DSENT (Sun et al., NOCS 2012) models a router from its standard cells. We ran it over flit widths, buffers, virtual
channels and ports (`dsent.json` holds the settings and the figures) and found that it separates:

* buffer energy depends on the flit width and on all flits of a port together (num_vcs x vc_buf_size), not on how
  these are divided among VCs; crossbar energy on flit width and ports; an arbiter's on its number of requesters, first
  the VCs of a port, then the ports;
* leakage, area and clock of a router with p ports are those of one with p ports and `BASE_DEPTH` flits per port, plus
  what other depths and VC arbiters add to the router of `BASE_PORTS` ports, in proportion to the ports; in the clock,
  whose tree grows with the router's side, to the square root of the ports.

In flit width everything but clock and area is a straight line, so between the points of the table straight lines are
drawn. `tests/hw/test_dsent.py` holds that against DSENT at points that are not in the table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from .errors import ChipError
from .interpolate import interpolate

Technology = Literal["Bulk45LVT", "Bulk32LVT", "Bulk22LVT", "TG11LVT"]
"""DSENT's technology files: 45, 32 and 22 nm bulk with low threshold voltage, 11 nm tri-gate."""

BASE_DEPTH = 4
"""Flits per port of the routers that were measured with other numbers of ports."""

BASE_PORTS = 5
"""Ports of the routers that were measured with other depths and VCs: a mesh's."""


@dataclass(frozen=True)
class DsentRouter:
    """One router. Energies of one flit through it, without the clock tree; clock power at 1 GHz."""

    buffer_pj: float
    crossbar_pj: float
    arbiter_pj: float
    clock_mw_at_1ghz: float
    leakage_mw: float
    area_mm2: float

    @property
    def pj_per_flit(self) -> float:
        """Write to and read from the input buffer, switch arbitration, crossbar."""
        return self.buffer_pj + self.crossbar_pj + self.arbiter_pj


@dataclass(frozen=True)
class DsentLink:
    """One wire of a repeated link on a global layer."""

    pj_per_bit: float
    leakage_mw_per_bit: float


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads((files(__package__) / "dsent.json").read_text("utf-8"))
    return tables


def dsent_router(
    technology: Technology, flit_bits: int, num_vcs: int, vc_buf_size: int, ports: int = BASE_PORTS
) -> DsentRouter:
    """A router of `ports` inputs and as many outputs, `num_vcs` x `vc_buf_size` flits at each input.

    Raises ChipError for an unknown technology and for sizes outside the table.
    """
    table, knots = _technology(technology)["router"], _tables()["knots"]
    bits = ("flit_bits", knots["flit_bits"], flit_bits)
    depth = ("num_vcs x vc_buf_size", knots["depth"], num_vcs * vc_buf_size)
    radix = ("ports of a router", knots["ports"], ports)
    vcs = ("num_vcs", knots["requesters"], num_vcs)

    def whole(kind: str, growth: float) -> float:
        by_depth = table[f"{kind}_by_depth"]
        deeper = interpolate(by_depth, bits, depth) - interpolate(by_depth, bits, ("depth", knots["depth"], BASE_DEPTH))
        added = deeper + interpolate(table[f"{kind}_of_vcs"], vcs)
        return interpolate(table[f"{kind}_by_ports"], bits, radix) + (ports / BASE_PORTS) ** growth * added

    return DsentRouter(
        buffer_pj=interpolate(table["buffer_pj"], bits, depth),
        crossbar_pj=interpolate(table["crossbar_pj"], bits, radix),
        arbiter_pj=interpolate(table["arbiter_pj"], vcs)
        + interpolate(table["arbiter_pj"], ("ports of a router", knots["requesters"], ports)),
        clock_mw_at_1ghz=whole("clock_mw", 0.5),
        leakage_mw=whole("leakage_mw", 1.0),
        area_mm2=whole("area_mm2", 1.0),
    )


def dsent_link(technology: Technology, length_mm: float) -> DsentLink:
    """One wire of `length_mm`. Raises ChipError for an unknown technology or a length outside the table."""
    table, knots = _technology(technology)["link"], _tables()["knots"]
    length = ("link_mm", knots["link_mm"], length_mm)
    return DsentLink(interpolate(table["pj_per_bit"], length), interpolate(table["leakage_mw_per_bit"], length))


def _technology(name: str) -> dict[str, Any]:
    if name not in get_args(Technology):
        raise ChipError(f"unknown technology {name!r}. The table has {', '.join(get_args(Technology))}.")
    found: dict[str, Any] = _tables()["technologies"][name]
    return found
