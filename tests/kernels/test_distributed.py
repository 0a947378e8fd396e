"""Two processes under DistributedDataParallel take the step that one process takes with the whole batch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cannon_fx.kernels.functional import block_sparse_conv2d, block_sparse_linear

from .cases import random_pattern

PATTERN = random_pattern(10, 13, 4, 4, 0.6, seed=1)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.taps = nn.Parameter(torch.randn(10, 13, 3, 3) / 10)
        self.head = nn.Parameter(torch.randn(10, 13) / 10)

    def forward(self, x: Tensor) -> Tensor:
        y = block_sparse_conv2d(x, self.taps, PATTERN, padding=1, activation="relu")
        return block_sparse_linear(x.mean((2, 3)), self.head, PATTERN) + y.mean((2, 3))


def step(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The parameters after two steps with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def batch() -> Tensor:
    return torch.randn(8, 13, 6, 5, generator=torch.Generator().manual_seed(3))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(step(DistributedDataParallel(Network()), batch()[4 * rank :][:4]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    expected = step(Network(), batch())
    started = list(Network().parameters())
    assert all(not torch.allclose(a, b) for a, b in zip(expected, started, strict=True)), "a step changes them"
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)
