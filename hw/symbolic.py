"""Communication energy as a formula: sympy expressions in a chip's constants, for sweeps that map nothing again.

The ways that transfers take do not depend on these constants, only what a flit on them costs, and into how many flits
`batch` samples of a transfer are cut. So with R, P and C, the routers, tile pitches and links between chiplets that
all transfers of b bits pass together,

    energy = sum over b of ceiling(batch b / flit_bits)
             (R router_pj_per_flit + (P link_mm link_pj_per_bit_mm + C crossing_pj_per_bit) flit_bits).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray

from .chip import Chip
from .errors import ChipError
from .routes import Routes
from .transfers import Transfers

ROUTER_PJ, LINK_PJ, CROSSING_PJ, LINK_MM = sympy.symbols(
    "router_pj_per_flit link_pj_per_bit_mm crossing_pj_per_bit link_mm", nonnegative=True
)
FLIT_BITS, BATCH = sympy.symbols("flit_bits batch", positive=True, integer=True)

CONSTANTS = (ROUTER_PJ, LINK_PJ, CROSSING_PJ, LINK_MM, FLIT_BITS, BATCH)


def symbolic_energy_pj(transfers: Transfers, routes: Routes) -> sympy.Expr:
    """Dynamic energy of `transfers` on their `routes`, pJ, in `CONSTANTS`."""
    bits, kind = np.unique(transfers.bits, return_inverse=True)
    passed = np.zeros((3, len(bits)))
    for row, values in zip(passed, (routes.routers, routes.pitches, routes.crossings), strict=True):
        np.add.at(row, kind, values)
    terms = []
    for b, (routers, pitches, crossings) in zip(bits.tolist(), passed.T.tolist(), strict=True):
        per_bit = _number(pitches) * LINK_MM * LINK_PJ + _number(crossings) * CROSSING_PJ
        one_flit = _number(routers) * ROUTER_PJ + per_bit * FLIT_BITS
        terms.append(sympy.ceiling(BATCH * b / FLIT_BITS) * one_flit)
    return sympy.Add(*terms)


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if value == int(value) else sympy.Float(value)


def constants_of(chip: Chip, batch: int = 1) -> dict[sympy.Symbol, float]:
    """The chip's own value of every constant."""
    noc, energy = chip.noc, chip.noc_energy
    return {
        ROUTER_PJ: energy.router_pj_per_flit,
        LINK_PJ: energy.link_pj_per_flit / (noc.flit_bits * noc.link_mm),
        CROSSING_PJ: chip.nop.pj_per_bit if chip.nop else 0.0,
        LINK_MM: noc.link_mm,
        FLIT_BITS: noc.flit_bits,
        BATCH: batch,
    }


def sweep(expression: sympy.Expr, base: Mapping[sympy.Symbol, float], **values: ArrayLike) -> NDArray[np.float64]:
    """The expression for many chips at once: `base` with the named constants replaced by arrays, which broadcast.

    Raises ChipError for a name that is no constant, values that are no finite numbers, and values out of range.
    """
    symbols = {str(symbol): symbol for symbol in base}
    chosen: dict[sympy.Symbol, NDArray[np.float64]] = {s: np.asarray(v, np.float64) for s, v in base.items()}
    for name, given in values.items():
        if name not in symbols:
            raise ChipError(f"{name!r} is no constant of the formula: choose among {', '.join(symbols)}.")
        array = np.asarray(given, np.float64)
        least = 1 if symbols[name] in (FLIT_BITS, BATCH) else 0
        if not np.isfinite(array).all() or (array < least).any():
            raise ChipError(f"{name} holds values that are not numbers of at least {least}.")
        if least and (array != np.floor(array)).any():
            raise ChipError(f"{name} holds fractions: give whole numbers.")
        chosen[symbols[name]] = array
    order = list(chosen)
    # No common subexpressions: b times a rounded batch / flit_bits may miss the whole number that it is.
    compute = sympy.lambdify(order, expression, "numpy")
    arrays = np.broadcast_arrays(*chosen.values())
    return np.broadcast_to(np.asarray(compute(*arrays), np.float64), arrays[0].shape)
