"""Every chip that comes with the package takes a network from the mapping to its cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cannon_fx import Chip, plan


@pytest.mark.parametrize("name", Chip.presets())
def test_a_network_is_mapped_and_priced(name: str) -> None:
    """A layer of 3000 inputs is more than one tile of any preset."""
    network = nn.Sequential(nn.Linear(3000, 600), nn.ReLU(), nn.Linear(600, 40))
    found = plan(network, torch.zeros(1, 3000), chip=name)
    chip = Chip.load(name)
    assert found.unmapped == ()
    assert found.tiles >= -(-3000 // chip.tile_rows) * -(-600 // chip.tile_columns) + 1
    cost = found.cost()
    energy = chip.noc_energy
    least = cost.communication.flits.sum() * energy.router_pj_per_flit
    assert cost.energy_pj > least
    assert cost.latency_cycles > 0
    idle = energy.router_leakage_mw + energy.router_clock_mw + energy.link_leakage_mw
    assert (cost.static_energy_pj > 0) == (idle > 0)
