"""Two processes are one with the same batches: batch norm, masks, weights, losses; and what they refuse."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from cannon_fx import RunError, apply_cannon
from cannon_fx.networks import digits_net
from cannon_fx.train.baselines.magnitude import MagnitudeControl
from cannon_fx.train.budget import Budget
from cannon_fx.train.ranks import first, rank, ranks
from cannon_fx.train.training import Training
from cannon_fx.wrappers import unwrapped

CHIP: dict[str, Any] = {"chip": "demo-32nm", "group_size": 8}
SAMPLE = torch.zeros(1, 1, 8, 8)


def batches(dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    """Three of twenty samples, and one that divides unevenly."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 8, (73,), generator=generator)
    images = 0.3 * torch.randn(73, 1, 8, 8, generator=generator)
    images[torch.arange(73), 0, labels] += 1
    return list(zip(images.to(dtype).split(20), labels.split(20), strict=True))


def made(method: str, dtype: torch.dtype = torch.float64, wrap: bool = False, **options: Any) -> Training:
    """Three epochs to half of the energy."""
    torch.manual_seed(0)
    network = digits_net().to(dtype)
    plan = apply_cannon(network, SAMPLE.to(dtype), **CHIP)
    budget = Budget.parse("energy/2")

    def start(steps: int) -> Any:
        if method == "cannon":
            return plan.set_budget(budget, steps)
        return MagnitudeControl(plan, network, budget, steps, "connection")

    data, model = batches(dtype), DistributedDataParallel(network) if wrap and ranks() > 1 else network
    return Training(model, data, data, epochs=3, start=start, learning_rate=0.01, **options)


def trained(*arguments: Any, **options: Any) -> dict[str, Any]:
    training = made(*arguments, **options)
    rows = list(training)
    return {
        "rows": [(row.loss, row.accuracy, row.energy_pj) for row in rows],
        "dense": made("cannon").control.cost().energy_pj,
        "weights": dict(unwrapped(training.model).state_dict()),
    }


def resumed() -> dict[str, Any]:
    """Killed after six steps, and resumed from what rank 0 wrote."""
    killed, steps = made("cannon"), iter(range(6))
    with suppress(StopIteration):
        while True:
            killed.run_epoch(lambda: next(steps))
    assert (killed.at.epochs, killed.at.batches) == (1, 3)
    buffer = io.BytesIO()
    torch.save(killed.state_dict(), buffer)
    written = first(buffer.getvalue)
    again = made("cannon")
    again.load_state_dict(torch.load(io.BytesIO(written), weights_only=True))
    list(again)
    return dict(again.model.state_dict())


def own_loop(model: nn.Module, wrap: Callable[[nn.Module], nn.Module], share: slice) -> dict[str, Any]:
    """Two lines in a training loop of one's own, without batch norm."""
    plan = apply_cannon(model, SAMPLE.double(), **CHIP)
    plan.set_budget("energy/1.5", steps=8)
    wrapped = wrap(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, y in 3 * batches()[:-1]:
        (nn.functional.cross_entropy(wrapped(x[share]), y[share]) + plan.regularizer()).backward()
        optimizer.step()
        plan.step_(optimizer)
        optimizer.zero_grad()
    assert plan.control.landed
    return dict(model.state_dict())


def plain_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    ).double()


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(RunError) as error:
        work()
    return str(error.value)


def sharded() -> None:
    """fully_shard after apply_cannon, and one step."""
    model = plain_network(0)
    plan = apply_cannon(model, SAMPLE.double(), **CHIP)
    plan.set_budget("energy/1.5", steps=8)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    model(batches()[0][0]).sum().backward()
    plan.step_(torch.optim.SGD(model.parameters(), lr=0.1))


def different_batches() -> None:
    training = made("cannon")
    training.train_loader = batches()[rank() :]
    training.run_epoch()


def fails_in_rank_0() -> None:
    raise RunError(f"rank {rank()} of {ranks()}")


TRAININGS: dict[str, Callable[[], dict[str, Any]]] = {
    "cannon": lambda: trained("cannon"),
    "in parts": lambda: trained("cannon", accumulate=3),
    "distilled": lambda: trained("cannon", distill=0.7),
    "magnitude": lambda: trained("connection"),
    "wrapped": lambda: trained("cannon", wrap=True, accumulate=2),
    "bfloat16 in parts": lambda: trained("cannon", torch.float32, accumulate=2, bfloat16=True),
}


def work(number: int, folder: Path) -> None:
    """What one of two processes does; it leaves its results in the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    found: dict[str, Any] = {name: train() for name, train in TRAININGS.items()}
    found["resumed"] = resumed()
    # The processes' networks differ until DistributedDataParallel makes them the same.
    found["own loop"] = own_loop(plain_network(number), DistributedDataParallel, slice(number, None, 2))
    for name, mistake in (("sharded", sharded), ("batches", different_batches)):
        found[name] = refused(mistake)
    found["first"] = refused(lambda: first(fails_in_rank_0))
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two processes found."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(work, (folder,), nprocs=2)
    return [torch.load(folder / f"{number}.pt") for number in (0, 1)]


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same(weights: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert all(torch.equal(weights[key], other[key]) for key in weights.keys() | other.keys())


@pytest.mark.parametrize("name", ["cannon", "in parts", "magnitude", "wrapped"])
def test_two_processes_train_the_network_that_one_does(two: list[dict[str, Any]], name: str) -> None:
    """With batch norm, in float64: the same masks, the same weights up to rounding."""
    assert_same(two[0][name]["weights"], two[1][name]["weights"])
    with one_thread():
        one = TRAININGS[name]()
    found = two[0][name]
    for key, value in one["weights"].items():
        assert torch.equal(value != 0, found["weights"][key] != 0)
    torch.testing.assert_close(found["weights"], one["weights"], rtol=1e-8, atol=1e-10)
    assert one["rows"][-1][2] <= one["dense"] / 2
    for row, other in zip(one["rows"], found["rows"], strict=True):
        assert row[1:] == other[1:]
        assert row[0] == pytest.approx(other[0], rel=1e-6)


def test_two_processes_in_bfloat16_and_in_parts(two: list[dict[str, Any]]) -> None:
    """Weights equal in both processes, losses near those of one, the budget met."""
    name = "bfloat16 in parts"
    assert_same(two[0][name]["weights"], two[1][name]["weights"])
    with one_thread():
        one = TRAININGS[name]()
    assert two[0][name]["rows"][0][0] == pytest.approx(one["rows"][0][0], rel=0.1), "with the penalty"
    assert 0.9 * one["dense"] / 2 <= two[0][name]["rows"][-1][2] <= one["dense"] / 2


def test_two_processes_resume_bit_equal(two: list[dict[str, Any]]) -> None:
    for found in two:
        assert_same(found["resumed"], found["cannon"]["weights"])


def test_ones_own_loop_under_distributed_data_parallel(two: list[dict[str, Any]]) -> None:
    """Even where the processes' networks differed when the budget was set."""
    assert_same(two[0]["own loop"], two[1]["own loop"])
    with one_thread():
        one = own_loop(plain_network(0), lambda model: model, slice(None))
    torch.testing.assert_close(two[0]["own loop"], one, rtol=1e-8, atol=1e-10)
    assert any((weight == 0).any() for name, weight in one.items() if name.endswith("weight"))


def test_what_two_processes_refuse(two: list[dict[str, Any]]) -> None:
    for found in two:
        assert "layer '0' is sharded" in found["sharded"]
        assert "given different batches" in found["batches"]
        assert found["first"] == "rank 0 of 2"
