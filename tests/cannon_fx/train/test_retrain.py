"""The descent to the budget, in the ready-made loop and in two lines of someone's own."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cannon_fx import InfeasibleError, MappingError, RunError, apply_cannon, retrain
from cannon_fx.data import Batches, load_data
from cannon_fx.hw.chip import Chip
from cannon_fx.networks import digits_net
from cannon_fx.train.evaluate import evaluate
from cannon_fx.train.training import Training

Batch = list[tuple[Tensor, Tensor]]
CHIP: dict[str, Any] = {"chip": "demo-32nm", "group_size": 2}


def test_retrain_meets_the_budget_and_learns(network: nn.Module, image: Tensor, batches: Batch) -> None:
    plan = apply_cannon(network, image, **CHIP)
    dense = plan.cost().energy_pj
    history = retrain(network, batches, batches, budget="energy/2", epochs=30)
    assert 0.9 * dense / 2 <= plan.cost().energy_pj <= dense / 2
    assert history[-1].accuracy > 0.9
    assert history[-1].accuracy == evaluate(network, batches)
    assert [row.phase for row in history] == ["sparsify"] * 15 + ["fine-tune"] * 15
    assert history[-1].energy_pj == plan.cost().energy_pj
    energies = [row.energy_pj for row in history]
    assert all(b <= a for a, b in itertools.pairwise(energies[:14])), "only the last landing may add"
    assert set(energies[14:]) == {energies[14]}


@pytest.mark.parametrize("divisor", np.random.default_rng(0).uniform(1.1, 8, 10).round(2))
def test_the_budget_is_used_up(divisor: float) -> None:
    """Between 97 % and 100 % of what was asked, counted over the connections that are not zero."""
    torch.manual_seed(0)
    network = digits_net()
    plan = apply_cannon(network, torch.zeros(1, 1, 8, 8), chip="demo-32nm", group_size=4)
    limit = plan.cost().energy_pj / divisor
    digits = load_data("digits")
    batch = next(iter(Batches(digits.train, digits, 64, shuffle=True, augment=True, seed=0)))
    history = retrain(network, 4 * [batch], [batch], budget=f"energy/{divisor}", epochs=4)
    assert 0.97 * limit <= history[-1].energy_pj <= limit


def test_two_lines_in_ones_own_loop(network: nn.Module, image: Tensor, batches: Batch) -> None:
    """With an optimiser that was made before the layers were replaced."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    plan = apply_cannon(network, image, **CHIP)
    plan.set_budget("energy/2", steps=60)
    dense = plan.cost().energy_pj
    for step in range(120):
        x, y = batches[step % 4]
        loss = nn.functional.cross_entropy(network(x), y) + plan.regularizer()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step_(optimizer)
    assert plan.cost().energy_pj <= dense / 2
    assert evaluate(network, batches) > 0.9
    for module in plan.modules.values():
        assert not module.dense or module.pattern.keep.all()
        cut = ~module.pattern.spread(module.pattern.keep)
        assert torch.equal(module.weight[cut], torch.zeros_like(module.weight[cut]))


def test_a_second_budget_goes_on_from_the_first(network: nn.Module, image: Tensor, batches: Batch) -> None:
    """What was cut stays cut, and is not asked for again; the budget is one of the dense network."""
    plan = apply_cannon(network, image, **CHIP)
    dense = plan.cost().energy_pj
    retrain(network, batches, batches, budget="energy/2", epochs=6)
    first = {name: keep.copy() for name, keep in plan.keep().items()}
    control = plan.set_budget("energy/5", steps=20)
    assert control.cost().energy_pj == plan.cost().energy_pj
    retrain(network, batches, batches, budget="energy/5", epochs=6)
    assert 0 < plan.cost().energy_pj <= dense / 5
    for name, keep in plan.keep().items():
        assert keep.any()
        assert not (keep & ~first[name]).any()


@pytest.mark.parametrize("budget", ["energy/3", "latency/2", "edp/2"])
def test_a_chip_whose_energies_are_zero(
    network: nn.Module, image: Tensor, batches: Batch, tmp_path: Path, budget: str
) -> None:
    text = Chip.text_of("demo-32nm")
    nothing = ("router_pj_per_flit", "link_pj_per_bit_mm", "router_leakage_mw", "router_clock_mw", "link_leakage_mw")
    energy = ["[energy]", 'model = "constants"', *(f"{key} = 0.0" for key in nothing), ""]
    before, after = text.split("[energy]")[0], text[text.index("[compute]") :]
    (tmp_path / "zero.toml").write_text(before + "\n".join(energy) + "\n" + after)
    plan = apply_cannon(network, image, chip=tmp_path / "zero.toml", group_size=2)
    dense = plan.cost().latency_cycles
    retrain(network, batches, batches, budget=budget, epochs=4)
    assert plan.cost().energy_pj == 0
    if budget == "latency/2":
        assert 0.3 * dense < plan.cost().latency_cycles <= dense / 2


def test_float16_with_a_gradient_scaler(network: nn.Module, image: Tensor, batches: Batch) -> None:
    """Its first steps overflow and are skipped; they leave no mark on what is known of importance."""
    plan = apply_cannon(network, image, **CHIP)
    control = plan.set_budget("energy/2", steps=120)
    dense, scaler = plan.cost().energy_pj, torch.amp.GradScaler("cpu", init_scale=2.0**26)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    overflowed = 0
    for step in range(240):
        x, y = batches[step % 4]
        with torch.autocast("cpu", torch.float16):
            logits = network(x)
        loss = nn.functional.cross_entropy(logits.float(), y) + plan.regularizer()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        overflowed += not all(p.grad.isfinite().all() for p in network.parameters())
        plan.step_(optimizer)
        optimizer.zero_grad()
        scaler.update()
    assert 0 < overflowed < 30
    assert control.importance.isfinite().all()
    assert 0.9 * dense / 2 <= control.cost().energy_pj <= dense / 2
    assert evaluate(network, batches) > 0.9


def test_the_penalty_shrinks_what_has_to_go_next(network: nn.Module, image: Tensor, batches: Batch) -> None:
    """Units cut in the second half had shrunk more, against the start, than those that stay."""
    plan = apply_cannon(network, image, **CHIP)
    control = plan.set_budget("energy/3", steps=200)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)

    def norms() -> Any:
        squares = {
            name: module.pattern.sums(module.weight.detach().square()).sum(0).double().numpy()
            for name, module in plan.modules.items()
        }
        return np.sqrt(control.units.per_unit(squares))

    start, last, middle = norms(), norms(), control.kept
    for step in range(200):
        x, y = batches[step % 4]
        (nn.functional.cross_entropy(network(x), y) + plan.regularizer()).backward()
        optimizer.step()
        plan.step_(optimizer)
        optimizer.zero_grad()
        last = np.where(control.kept, norms(), last)
        middle = control.kept if step == 100 else middle
    late = middle & ~control.kept
    assert late.sum() > 3
    assert (last / start)[late].mean() < 0.9 * (last / start)[control.kept].mean()


def test_infeasible_budget_is_refused_before_anything_changes(
    network: nn.Module, image: Tensor, batches: Batch
) -> None:
    apply_cannon(network, image, **CHIP)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(InfeasibleError, match="cannot be met"):
        retrain(network, batches, batches, budget="energy/1000", epochs=4)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_must_be_called_first(network: nn.Module, image: Tensor, batches: Batch) -> None:
    with pytest.raises(MappingError, match="apply_cannon"):
        retrain(network, batches, batches)
    plan = apply_cannon(network, image, **CHIP)
    with pytest.raises(MappingError, match="set_budget"):
        plan.regularizer()


def test_a_loss_that_is_not_finite_stops_the_training(network: nn.Module, image: Tensor, batches: Batch) -> None:
    apply_cannon(network, image, **CHIP)
    broken = [(x * float("nan"), y) for x, y in batches]
    with pytest.raises(RunError, match="loss became nan in epoch 1, batch 1"):
        retrain(network, broken, batches, epochs=2)


def test_a_loader_without_length_is_refused(network: nn.Module, image: Tensor, batches: Batch) -> None:
    apply_cannon(network, image, **CHIP)
    with pytest.raises(RunError, match="no length or no batches"):
        retrain(network, iter(batches), batches, epochs=2)


def test_what_no_descent_can_start_with(network: nn.Module, image: Tensor) -> None:
    plan = apply_cannon(network, image, **CHIP)
    with pytest.raises(RunError, match="a descent of 0 steps"):
        plan.set_budget("energy/2", steps=0)
    network.down.weight.requires_grad_(False)
    with pytest.raises(RunError, match="layer 'down' is frozen"):
        plan.set_budget("energy/2", steps=5)


def test_gradients_that_are_gone_are_missed(network: nn.Module, image: Tensor, batches: Batch) -> None:
    plan = apply_cannon(network, image, **CHIP)
    plan.set_budget("energy/2", steps=5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    network(batches[0][0]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    with pytest.raises(RunError, match="before zero_grad"):
        plan.step_(optimizer)


def test_frozen_batch_norm_stays_frozen(network: nn.Module, image: Tensor, batches: Batch) -> None:
    apply_cannon(network, image, **CHIP)
    network.norm.eval()
    before = network.norm.running_mean.clone()
    retrain(network, batches, batches, budget="energy/1.5", epochs=2)
    assert network.training
    assert not network.norm.training
    assert torch.equal(network.norm.running_mean, before)


def test_a_compiled_network_is_known_by_what_it_wraps(network: nn.Module, image: Tensor, batches: Batch) -> None:
    plan = apply_cannon(network, image, **CHIP)
    dense = plan.cost().energy_pj
    retrain(torch.compile(network, backend="eager"), batches, batches, budget="energy/2", epochs=2)
    assert plan.cost().energy_pj <= dense / 2


def test_bfloat16_trains_in_bfloat16_and_evaluates_in_float32(
    network: nn.Module, image: Tensor, batches: Batch
) -> None:
    seen = []
    network.down.register_forward_hook(lambda module, args, output: seen.append((module.training, output.dtype)))
    history = list(Training(network, batches, batches, epochs=8, bfloat16=True))
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert history[-1].loss < 0.7 * history[0].loss
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
