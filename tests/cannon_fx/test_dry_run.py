"""The dry run's figures against counts by hand, and advice that fits."""

from __future__ import annotations

import pytest
import torch
from oracle import chip
from torch import Tensor, nn

from cannon_fx.compile import plan
from cannon_fx.dry_run import advice, dry_run, edges, macs_mapped_share, utilisation
from cannon_fx.plans import Plan

CHIP = chip(rows=8, columns=16)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(2, 8, 2), nn.Conv2d(8, 8, 3, groups=8)
        self.up, self.head = nn.ConvTranspose2d(8, 4, 2, 2), nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.head(self.up(self.depthwise(self.conv(x))).mean((2, 3))))


@pytest.fixture(scope="module")
def found() -> Plan:
    return plan(Net(), torch.zeros(1, 2, 6, 6), chip=CHIP)


def test_coverage_and_utilisation_by_hand(found: Plan) -> None:
    assert [layer.name for layer in found.layers] == ["conv"]
    conv, depthwise, up, linear = 8 * 2 * 4 * 25, 8 * 9 * 9, 8 * 4 * 4 * 9, 4 * 4
    assert macs_mapped_share(found) == conv / (conv + depthwise + up + 2 * linear)
    weights = 8 * 2 * 4, 8 * 9, 8 * 4 * 4, 4 * 4
    assert found.weights_mapped_share == weights[0] / sum(weights)
    assert utilisation(found) == weights[0] / (found.tiles * CHIP.tile_rows * CHIP.tile_columns)


def test_edges_add_up_to_the_energy() -> None:
    net = nn.Sequential(nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 4))
    whole = plan(net, torch.zeros(1, 40), chip=CHIP)
    found = edges(whole)
    assert sum(edge.energy_pj for edge in found) == pytest.approx(whole.cost().energy_pj, rel=1e-12)
    assert [edge.energy_pj for edge in found] == sorted((edge.energy_pj for edge in found), reverse=True)
    assert {(edge.source, edge.target) for edge in found} == {("args_0", "0"), ("0", "0"), ("relu", "2"), ("2", "2")}


def test_advice_names_what_it_is_about(found: Plan) -> None:
    said = "\n".join(advice(found, found.cost()))
    assert "head, tied: untie the two weights" in said
    assert "--order annealed" in said
    assert "depthwise" not in said


def test_the_text_holds_it_all(found: Plan) -> None:
    text = dry_run(found, found.cost(), most=1)
    assert "mapped: 1 layers" in text
    assert f"the costliest of {len(edges(found))} edges" in text
    assert text.count("%") >= 4
