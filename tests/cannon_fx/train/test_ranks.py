"""Two processes are one with the same batches: batch norm, masks, weights, losses; and what they refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from cannon_fx import RunError, apply_cannon
from cannon_fx.train.baselines.magnitude import MagnitudeControl
from cannon_fx.train.budget import Budget
from cannon_fx.train.ranks import agreed, first, gathered, rank, ranks
from cannon_fx.train.synced_norm import synced_norms
from cannon_fx.train.training import Training

Batch = list[tuple[Tensor, Tensor]]
CHIP: dict[str, Any] = {"chip": "demo-32nm", "group_size": 2}


def join(number: int, folder: Path, work: Callable[[], Any]) -> None:
    """One of two processes: leaves what `work` returns in the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    torch.save(work(), folder / f"{number}.pt")
    dist.destroy_process_group()


def in_two(folder: Path, work: Callable[[], Any]) -> list[Any]:
    """What `work` returns in each of two processes."""
    mp.spawn(join, (folder, work), nprocs=2)
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in (0, 1)]


def trained(network: nn.Module, image: Tensor, batches: Batch, method: str, **options: Any) -> dict[str, Any]:
    """Three epochs to half of the energy, of a copy: processes are given the same memory."""
    network = copy.deepcopy(network)
    plan = apply_cannon(network, image.to(next(network.parameters()).dtype), **CHIP)
    budget = Budget.parse("energy/2")

    def start(steps: int) -> Any:
        if method == "cannon":
            return plan.set_budget(budget, steps)
        return MagnitudeControl(plan, network, budget, steps, "connection")

    training = Training(network, batches, batches, epochs=3, start=start, **options)
    rows = [(row.loss, row.accuracy, row.energy_pj) for row in training]
    keep = {layer.name: network.get_submodule(layer.name).weight.detach() != 0 for layer in plan.layers}
    return {"weights": dict(network.state_dict()), "keep": keep, "rows": rows}


@pytest.mark.parametrize(
    ("method", "accumulate"), [("cannon", 1), ("cannon", 3), ("connection", 1)], ids=["cannon", "parts", "magnitude"]
)
def test_two_processes_train_the_network_that_one_does(
    network: nn.Module, image: Tensor, batches: Batch, tmp_path: Path, method: str, accumulate: int
) -> None:
    """With batch norm, in float64; the last batch is odd. Equal masks, and weights up to rounding."""
    double = [(x.double(), y) for x, y in batches]
    double[-1] = tuple(tensor[:-5] for tensor in double[-1])  # type: ignore[assignment]
    train = partial(trained, network.double(), image, double, method, accumulate=accumulate)
    two = in_two(tmp_path, train)
    one = train()
    assert not all(keep.all() for keep in one["keep"].values())
    for name, value in two[0]["weights"].items():
        assert torch.equal(value, two[1]["weights"][name])
    for name, keep in one["keep"].items():
        assert torch.equal(keep, two[0]["keep"][name])
    torch.testing.assert_close(two[0]["weights"], one["weights"], rtol=1e-8, atol=1e-10)
    for (loss, *rest), (loss_of_two, *rest_of_two) in zip(one["rows"], two[0]["rows"], strict=True):
        assert rest == rest_of_two
        assert loss_of_two == pytest.approx(loss, rel=1e-6)
    assert two[0]["rows"] == two[1]["rows"]
