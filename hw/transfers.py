"""What has to travel: bits from tile to tile, phase by phase, and the flits that carry them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Ints


@dataclass(frozen=True, eq=False)
class Transfers:
    """One row per transfer: `bits` that go from tile `source` to tile `target` in phase `phase`; int64 each.

    Rows of a phase with the same `tree` are one multicast: the same bits to several tiles. Unicast rows have a tree
    each.
    """

    phase: Ints
    source: Ints
    target: Ints
    bits: Ints
    tree: Ints

    @classmethod
    def unicast(cls, phase: int, source: Ints, target: Ints, bits: Ints) -> Transfers:
        """Every row by itself, all in one phase."""
        rows = np.arange(len(bits))
        return cls(np.full(len(bits), phase), source, target, bits, rows)

    @classmethod
    def concatenate(cls, parts: list[Transfers]) -> Transfers:
        """All rows of `parts`, in order; no two parts hold the same phase."""
        if not parts:
            return cls(*(np.zeros(0, np.int64) for _ in range(5)))
        columns = ("phase", "source", "target", "bits", "tree")
        return cls(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))

    def flits(self, flit_bits: int) -> Ints:
        """Flits of every row; a transfer does not share a flit with another."""
        return -(-self.bits // flit_bits)
