"""Costs as formulas in open sizes: the bits of every transfer as a polynomial, exact at every size that was tried.

The transfers are worked out at a few sizes; which tiles send to which must be the same at all of them. A polynomial of
degree 2 in each size (attention's scores are the highest) goes through some, and must give the others too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import sympy
from numpy.typing import NDArray

from cannon_fx.cost import all_transfers
from cannon_fx.dynamic import DynamicProgram, Sizes
from cannon_fx.errors import MappingError
from cannon_fx.hw.arrays import Ints
from cannon_fx.hw.transfers import Transfers
from cannon_fx.passes.homes import Homes
from cannon_fx.plans import Keep, Plan

DEGREE = 2


@dataclass(frozen=True, eq=False)
class Formulas:
    """Transfer k carries `expressions[kind[k]]` bits. Sums are text that sympy reads, numbers where nothing is open."""

    kind: Ints
    expressions: Sequence[sympy.Expr]
    flit_bits: int

    @classmethod
    def of(cls, plan: Plan, keep: Keep) -> Formulas:
        """Raises MappingError where the transfers differ in more than bits, or the bits are no polynomials."""
        dynamic = plan.dynamic
        assert dynamic, "only open sizes make formulas"
        fitted, checked = _tried(dynamic)
        base, table = all_transfers(plan, keep)[0], []
        for sizes in [*fitted, *checked]:
            found = _transfers_at(plan, keep, sizes)
            if not _same_ways(base, found):
                raise _no_formula(sizes, "other tiles send to each other")
            table.append(found.bits)
        values, kind = np.unique(np.stack(table, axis=1), axis=0, return_inverse=True)
        expressions = [_polynomial(dynamic, fitted, row[: len(fitted)].tolist()) for row in values]
        for expression, row in zip(expressions, values, strict=True):
            for sizes, bits in zip(checked, row[len(fitted) :].tolist(), strict=True):
                if expression.xreplace(dict(sizes)) != bits:
                    raise _no_formula(sizes, f"a transfer has {bits} bits and not {expression.xreplace(dict(sizes))}")
        return cls(kind.ravel(), expressions, plan.chip.noc.flit_bits)

    def bits(self, rows: Ints) -> float | str:
        return _json(self._sum(rows, np.ones(len(rows), np.int64), self.expressions))

    def flits(self, rows: Ints) -> float | str:
        return _json(self._sum(rows, np.ones(len(rows), np.int64), self._flits))

    def energy_pj(self, rows: Ints, pj_per_flit: NDArray[np.float64]) -> float | str:
        return _json(self._sum(rows, pj_per_flit[rows], self._flits))

    @cached_property
    def _flits(self) -> list[sympy.Expr]:
        return [sympy.ceiling(expression / self.flit_bits) for expression in self.expressions]

    def _sum(self, rows: Ints, factors: NDArray[np.int64 | np.float64], of: Sequence[sympy.Expr]) -> sympy.Expr:
        kinds, place = np.unique(self.kind[rows], return_inverse=True)
        total = np.zeros(len(kinds), factors.dtype)
        np.add.at(total, place, factors)
        return sympy.Add(*(factor * of[kind] for kind, factor in zip(kinds, total.tolist(), strict=True)))


def _tried(dynamic: DynamicProgram) -> tuple[list[Sizes], list[Sizes]]:
    """Sizes that polynomials go through, and others, among them the least, that they must give too."""
    near, far = [], []
    for symbol, size in dynamic.example.items():
        least, most = dynamic.bounds(symbol)
        allowed = [s for s in (size, size + 1, size + 2, size - 1, size - 2) if least <= s <= most]
        near.append(allowed[: DEGREE + 1])
        others = [least, int(min(2 * size + 1, most)), int(min(5 * size, most))]
        far.append([s for s in others if s not in near[-1]])
    symbols = list(dynamic.example)
    fitted: list[Sizes] = [dict(zip(symbols, sizes, strict=True)) for sizes in product(*near)]
    one_other = [{symbol: size} for symbol, sizes in zip(symbols, far, strict=True) for size in sizes]
    return fitted, [{**dynamic.example, **other} for other in one_other]


def _transfers_at(plan: Plan, keep: Keep, sizes: Sizes) -> Transfers:
    assert plan.dynamic
    exported = plan.dynamic.at(sizes)
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    layers = tuple(replace(layer, positions=values[layer.node].numel() // layer.out_channels) for layer in plan.layers)
    return all_transfers(Homes()(replace(plan, exported=exported, layers=layers)), keep)[0]


def _same_ways(a: Transfers, b: Transfers) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("phase", "source", "target", "tree"))


def _polynomial(dynamic: DynamicProgram, fitted: Sequence[Sizes], bits: Sequence[int]) -> sympy.Expr:
    """The polynomial through `bits` at all of the grid `fitted`, one size after the other (Lagrange)."""
    symbols = list(dynamic.example)
    expression = sympy.Integer(0)
    grid = [sorted({sizes[symbol] for sizes in fitted}) for symbol in symbols]
    for sizes, value in zip(fitted, bits, strict=True):
        basis = sympy.Integer(value)
        for symbol, places in zip(symbols, grid, strict=True):
            for other in places:
                if other != sizes[symbol]:
                    basis *= (symbol - other) / sympy.Integer(sizes[symbol] - other)
        expression += basis
    return sympy.expand(expression)


def _no_formula(sizes: Sizes, why: str) -> MappingError:
    at = ", ".join(f"{symbol} = {size}" for symbol, size in sizes.items())
    return MappingError(
        f"the costs are no polynomials in the open sizes: at {at}, {why}. Plan such sizes one by one, without "
        "dynamic_shapes."
    )


def _json(expression: sympy.Expr) -> float | str:
    if expression.free_symbols:
        return str(expression)
    return int(expression) if expression.is_Integer else float(expression)
