"""Filter pruning by torch-pruning: smaller networks that still compute, within the budget, and resumed alike."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from cannon_fx import InfeasibleError, plan
from cannon_fx.networks import digits_net
from cannon_fx.networks_cifar import PaddedBlock
from cannon_fx.plans import Plan
from cannon_fx.train.baselines.filters import FilterControl, Ranking
from cannon_fx.train.budget import Budget

pytest.importorskip("torch_pruning", reason="needs the extra cannon-fx[compare]")
IMAGE = torch.zeros(1, 1, 8, 8)


def replan(network: nn.Module) -> Plan:
    return plan(network, IMAGE, chip="demo-32nm", group_size=4)


def started(network: nn.Module, ranking: Ranking, divisor: float = 2, steps: int = 3) -> FilterControl:
    limit = replan(network).cost().energy_pj / divisor
    return FilterControl(network, replan, IMAGE, limit, Budget.parse("energy/2"), steps, ranking)


def train_(network: nn.Module, control: FilterControl, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(control.step)
    for _ in range(steps):
        x, y = torch.randn(8, 1, 8, 8, generator=generator), torch.randint(0, 10, (8,), generator=generator)
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
        control.step_(optimizer)
        optimizer.zero_grad()


@pytest.mark.parametrize("ranking", ["l1", "depgraph"])
def test_the_network_shrinks_to_the_budget_and_goes_on_training(ranking: Ranking) -> None:
    torch.manual_seed(0)
    network = digits_net()
    limit = replan(network).cost().energy_pj / 2
    control = started(network, ranking)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    train_(network, control, optimizer, 4)
    assert control.landed
    assert 0.7 * limit < control.cost().energy_pj <= limit
    assert control.cost().energy_pj == replan(network).cost().energy_pj
    own = {id(parameter) for parameter in network.parameters()}
    assert {id(parameter) for parameter in optimizer.param_groups[0]["params"]} == own
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_l1_takes_the_filters_of_least_norm() -> None:
    """A linear layer's neurons in one round, without training: those left are the ones of largest L1 norm."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    norms = network[1].weight.detach().abs().sum(1)
    before = network[1].weight.detach().clone()
    control = started(network, "l1", divisor=1.5, steps=1)
    control.step_(torch.optim.SGD(network.parameters(), lr=0.1))
    left = [k for k in range(40) if (network[1].weight == before[k]).all(1).any()]
    assert 0 < len(left) == network[1].out_features < 40
    assert norms[left].min() >= norms[[k for k in range(40) if k not in left]].max()


def test_a_resumed_run_has_the_same_network() -> None:
    torch.manual_seed(0)
    network = digits_net()
    fresh = copy.deepcopy(network)
    control = started(network, "depgraph")
    train_(network, control, torch.optim.SGD(network.parameters(), lr=0.01), 2)
    buffer = io.BytesIO()
    torch.save({"control": control.state_dict(), "model": network.state_dict()}, buffer)
    state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    resumed = started(fresh, "depgraph")
    resumed.load_state_dict(state["control"])
    fresh.load_state_dict(state["model"])
    for one, other in ((network, control), (fresh, resumed)):
        train_(one, other, torch.optim.SGD(one.parameters(), lr=0.01), 1)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), fresh.parameters(), strict=True))


def test_groups_that_torch_pruning_misjudges_stay_whole() -> None:
    """Zeros padded to a shortcut shift its channels, which it does not follow."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), PaddedBlock(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )
    control = started(network, "l1", divisor=1.01)
    assert set(control.kept_whole) == {"0", "1.conv2", "1.bn2", "4"}


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="l1 cannot meet the budget"):
        started(digits_net(), "l1", divisor=1000)
