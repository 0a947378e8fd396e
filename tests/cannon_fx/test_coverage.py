"""Coverage against counting by hand, and the advice that follows."""

from __future__ import annotations

import pytest
import torch
from oracle import chip
from torch import Tensor, nn

from cannon_fx import plan
from cannon_fx.coverage import coverage


class Mixed(nn.Module):
    """A mapped convolution, a grouped one, an embedding that nobody maps, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.grouped = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.grouped(self.plain(x)).mean((2, 3)))
        return y


def test_shares_are_counted() -> None:
    found = plan(Mixed(), torch.zeros(1, 4, 6, 6), chip=chip(rows=64, columns=8), group_size=4)
    covered = coverage(found)
    plain, grouped, head = 8 * 4 * 9, 8 * 2 * 9, 5 * 8
    assert covered.weights == pytest.approx((plain + head) / (plain + grouped + head))
    macs = 36 * plain + head
    assert covered.macs == pytest.approx(macs / (macs + 36 * grouped))
    cells = found.tiles * found.chip.tile_rows * found.chip.tile_columns
    assert covered.utilisation == pytest.approx((plain + head) / cells)


def test_the_summary_says_what_to_change() -> None:
    text = " ".join(
        plan(Mixed(), torch.zeros(1, 4, 6, 6), chip=chip(rows=64, columns=8), group_size=4).summary(200).split()
    )
    assert "not mapped: grouped: grouped convolution (4 groups)" in text
    assert "33% of the products with weights are not on the chip" in text
    assert "the costliest of" in text
