"""Energy models of the network-on-chip: what a flit costs in a router and on a link, and what both cost while idle.

A model is chosen by the key `model` of a chip's `[energy]` section. Each turns flit width, router, link length and
clock into one `NocEnergy`. The models disagree by an order of magnitude, because they describe different silicon
(`docs/hardware.md` has them side by side); compare chips only under one of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .dsent import BASE_PORTS, Technology, dsent_link, dsent_router
from .errors import ChipError
from .interpolate import interpolate
from .router import Router

NonNegative = Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)]


@dataclass(frozen=True)
class NocEnergy:
    """Dynamic energy, clock power and leakage, each apart. Link figures are those of one link of one tile pitch.

    `router_pj_per_flit`: one flit through one router. `link_pj_per_flit`: one flit over one link.
    `router_clock_mw`: clock tree and clocked registers of one router, with those of the links that leave it.
    """

    router_pj_per_flit: float
    link_pj_per_flit: float
    router_leakage_mw: float
    router_clock_mw: float
    link_leakage_mw: float


class _Model(BaseModel, ABC):
    """What all models have: their name in the file, and the way to ask them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str

    def resolve(
        self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int = BASE_PORTS
    ) -> NocEnergy:
        """The figures of routers with `ports` ports each, those of their nodes included, and of links of `link_mm`.

        Raises ChipError for sizes that the model does not cover, and for numbers that are not positive.
        """
        given = {"flit_bits": flit_bits, "link_mm": link_mm, "clock_ghz": clock_ghz, "ports": ports}
        for name, value in given.items():
            if not math.isfinite(value) or value <= 0:
                raise ChipError(f"the energy model {self.model!r} needs a positive {name} (got {value}).")
        return self._figures(flit_bits, router, link_mm, clock_ghz, ports)

    @abstractmethod
    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        """`resolve` of checked numbers."""


class Dsent(_Model):
    """DSENT 0.91 (`dsent.py`). Energy does not depend on the clock; DSENT gives the same up to 3 GHz."""

    model: Literal["dsent"]
    technology: Technology

    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        block = dsent_router(self.technology, flit_bits, router.num_vcs, router.vc_buf_size, ports)
        wire = dsent_link(self.technology, link_mm)
        return NocEnergy(
            router_pj_per_flit=block.pj_per_flit,
            link_pj_per_flit=wire.pj_per_bit * flit_bits,
            router_leakage_mw=block.leakage_mw,
            router_clock_mw=block.clock_mw_at_1ghz * clock_ghz,
            link_leakage_mw=wire.leakage_mw_per_bit * flit_bits,
        )


class Noxim(_Model):
    """Noxim's table (bin/power.yaml of 4c8e72d): buffer of one VC, 5x5 crossbar, XY routing, selection, link.

    The file names no technology and marks a third of its buffers as interpolated. Its leakage of 32-bit buffers hardly
    grows from 4 to 8 flits; that is how it stands there. Noxim counts leakage per VC buffer, no clock, and charges
    the same crossbar whatever the ports.
    """

    model: Literal["noxim"]

    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        bits = ("flit_bits", NOXIM_BITS, flit_bits)
        buffer = (("vc_buf_size", NOXIM_DEPTH, router.vc_buf_size), bits)
        length = ("link_mm", NOXIM_LINK_MM, link_mm)
        buffers = ports * router.num_vcs
        return NocEnergy(
            router_pj_per_flit=interpolate(NOXIM_PUSH_PJ, *buffer)
            + interpolate(NOXIM_POP_PJ, *buffer)
            + interpolate(NOXIM_CROSSBAR_PJ, bits)
            + NOXIM_ROUTING_PJ
            + NOXIM_SELECTION_PJ,
            link_pj_per_flit=flit_bits * interpolate(NOXIM_LINK_PJ_PER_BIT, length),
            router_leakage_mw=buffers * interpolate(NOXIM_BUFFER_LEAKAGE_MW, *buffer)
            + interpolate(NOXIM_CROSSBAR_LEAKAGE_MW, bits)
            + NOXIM_ROUTING_LEAKAGE_MW
            + NOXIM_SELECTION_LEAKAGE_MW,
            router_clock_mw=0.0,
            link_leakage_mw=flit_bits * interpolate(NOXIM_LINK_LEAKAGE_MW_PER_BIT, length),
        )


NOXIM_DEPTH = (2, 4, 8, 16, 32, 64)
NOXIM_BITS = (16, 32, 64, 128)
NOXIM_PUSH_PJ = (
    (0.313, 0.612, 1.21, 2.25),
    (0.393, 0.762, 1.50, 2.90),
    (0.536, 1.03, 2.08, 4.0),
    (0.825, 1.58, 3.20, 6.15),
    (1.70, 3.27, 6.60, 12.7),
    (2.58, 4.95, 10.0, 19.2),
)
NOXIM_POP_PJ = (
    (0.186, 0.365, 0.723, 1.25),
    (0.282, 0.534, 1.03, 2.0),
    (0.447, 0.826, 1.58, 3.0),
    (0.764, 1.41, 2.70, 5.1),
    (1.66, 3.06, 5.85, 11.1),
    (2.55, 4.71, 9.0, 17.1),
)
NOXIM_BUFFER_LEAKAGE_MW = (
    (0.205, 1.35, 2.68, 5.0),
    (1.16, 2.27, 4.48, 8.2),
    (2.08, 2.30, 7.91, 15.0),
    (3.94, 4.36, 15.0, 28.4),
    (9.87, 10.9, 37.5, 58.4),
    (15.8, 17.4, 60.0, 114.0),
)
NOXIM_CROSSBAR_PJ = (0.120, 0.221, 0.400, 0.800)
NOXIM_CROSSBAR_LEAKAGE_MW = (0.378, 0.749, 1.49, 2.75)
NOXIM_ROUTING_PJ, NOXIM_ROUTING_LEAKAGE_MW = 0.060, 0.120
NOXIM_SELECTION_PJ, NOXIM_SELECTION_LEAKAGE_MW = 0.050, 0.110
NOXIM_LINK_MM = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
NOXIM_LINK_PJ_PER_BIT = (0.0250, 0.0488, 0.0725, 0.0963, 0.120, 0.143)
NOXIM_LINK_LEAKAGE_MW_PER_BIT = (4.76e-4, 4.80e-4, 4.92e-4, 5.10e-4, 5.50e-4, 5.53e-4)


class BookSimItrs32(_Model):
    """BookSim2's own power module with its 32 nm ITRS-2007 technology, as measured on an 8x8 mesh of 5-port routers.

    With b bits per flit and d = num_vcs x vc_buf_size, its wires and buffers make the router's energy
    b x (0.03903 + 0.001125 b + 0.001133 d): that and the four laws below meet all 18 measured settings (32 to 128
    bits, 10 to 128 flits, 1 and 2 mm) within 0.02 %. Its wires are 14 times DSENT's. Figures for 352 channels (224
    links, 64 to and 64 from nodes) and 64 routers at 9.712 GHz are divided by these numbers. The module sizes its
    wires for its own clock; here clock power follows the chip's.
    """

    model: Literal["booksim-itrs32"]

    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        depth = router.num_vcs * router.vc_buf_size
        return NocEnergy(
            router_pj_per_flit=flit_bits * (0.0390256 + 0.00112528 * flit_bits + 0.00113322 * depth),
            link_pj_per_flit=flit_bits * link_mm * 0.445,
            router_leakage_mw=flit_bits * (1.78735e-3 * flit_bits + 1.44003e-3 * depth),
            router_clock_mw=flit_bits * clock_ghz * (0.0152311 + ports * link_mm * 0.00332349),
            link_leakage_mw=flit_bits * link_mm * 0.0121667,
        )


class PerBitHop(_Model):
    """One energy per bit and hop, routers included; nothing while idle.

    0.7 pJ in SET (src/main.cpp of SET-ISCA2023), 0.4 pJ in Gemini (src/main.cpp of GEMINI-HPCA2024).
    """

    model: Literal["per-bit-hop"]
    pj_per_bit: NonNegative

    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        return NocEnergy(0.0, flit_bits * self.pj_per_bit, 0.0, 0.0, 0.0)


class Constants(_Model):
    """Numbers of your own, for this chip's flits, routers and clock."""

    model: Literal["constants"]
    router_pj_per_flit: NonNegative
    link_pj_per_bit_mm: NonNegative
    router_leakage_mw: NonNegative
    router_clock_mw: NonNegative
    link_leakage_mw: NonNegative

    def _figures(self, flit_bits: int, router: Router, link_mm: float, clock_ghz: float, ports: int) -> NocEnergy:
        return NocEnergy(
            self.router_pj_per_flit,
            self.link_pj_per_bit_mm * flit_bits * link_mm,
            self.router_leakage_mw,
            self.router_clock_mw,
            self.link_leakage_mw,
        )


Energy = Annotated[Dsent | Noxim | BookSimItrs32 | PerBitHop | Constants, Field(discriminator="model")]
"""The `[energy]` section of a chip."""
