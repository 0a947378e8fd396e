"""TOPS/W against its definition, and against the two tables that it brings together."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from cannon_fx import Chip, apply_cannon, plan
from cannon_fx.compute import compute_total
from cannon_fx.efficiency import Efficiency, efficiencies, total


def test_units() -> None:
    """A watt for a second is 10^12 pJ: 10^12 operations in a second for one watt are one TOPS/W and one TOPS."""
    one = Efficiency("x", 10**12, 2.5e11, 2.5e11, 2.5e11, 2.5e11, 1e9)
    assert (one.tops_per_watt, one.tops, one.communication_share) == (1, 1, 0.25)
    assert Efficiency("cut", 0, 0.0, 0.0, 0.0, 0.0, 0.0).plain()["tops_per_watt"] == 0


def test_the_total_is_that_of_both_tables(network: nn.Module, image: Tensor) -> None:
    found = apply_cannon(network, image, chip="demo-32nm", group_size=4)
    found.modules["down"].cut(found.modules["down"].pattern.keep.roll(1, 0) & False)
    left = found.remapped()
    cost = left.cost()
    parts = efficiencies(left, cost)
    assert [part.name for part in parts] == [*(name for name in found.modules if name != "down"), "moves"]
    whole, computing = total(parts), compute_total(left, cost.keep)
    assert computing is not None
    assert whole.total_pj == pytest.approx(cost.energy_pj + computing["energy_pj"])
    cycles = cost.latency_cycles + computing["latency_cycles"]
    assert whole.latency_ns == pytest.approx(cycles / found.chip.noc.clock_ghz)
    positions = {"stem": 64, "inner": 64, "side": 16, "hidden": 1, "head": 1}  # of 8 x 8 images; down is cut
    weights = {name: module.weight.numel() for name, module in found.modules.items()}
    assert {part.name: part.operations for part in parts if part.operations} == {
        name: 2 * weights[name] * count for name, count in positions.items()
    }


def test_without_constants_there_is_none(network: nn.Module, image: Tensor) -> None:
    chip = Chip.load("demo-32nm").dump()
    del chip["compute"]
    found = plan(network, image, chip=Chip.parse_data(chip, "test"), group_size=4)
    assert efficiencies(found, found.cost()) == []
    assert "TOPS" not in found.summary()
    assert "TOPS/W" in plan(network, image, chip="demo-32nm", group_size=4).summary()
