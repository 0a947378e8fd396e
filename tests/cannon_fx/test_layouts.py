"""Copies of convolutions' outputs stand where somebody looks at the layout, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule

from cannon_fx import backend, zero_blocks
from cannon_fx.kernels.choice import Choice


class Chain(nn.Module):
    """Two convolutions with zero blocks, something between them, something behind them."""

    def __init__(self, between: Callable[[Tensor], Tensor], behind: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.norm, self.between, self.behind = nn.BatchNorm2d(32), between, behind
        with torch.no_grad():
            self.first.weight[:16, 16:] = 0
            self.second.weight[16:, :16] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.second(self.between(self.norm(self.first(x)))))


def views_and_writes(x: Tensor) -> Tensor:
    x.view(-1).mul_(2)
    return x


@pytest.mark.parametrize(
    ("between", "behind", "copies"),
    [
        (F.relu, lambda x: x, ["output"]),
        (lambda x: F.max_pool2d(F.relu(x, inplace=True), 2), lambda x: x.flatten(1), ["flatten"]),
        (lambda x: x + F.silu(x), lambda x: torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), ["flatten"]),
        (F.relu, lambda x: (x, x.view(x.shape[0], -1)), ["output", "view"]),
        (lambda x: x.view(x.shape).relu(), F.relu, ["output", "view"]),
        (views_and_writes, F.relu, ["batch_norm", "output"]),  # an unknown call: right behind the convolution
        (lambda x: F.relu(x, inplace=True) + x, lambda x: x.sort(1).values, ["batch_norm", "sort"]),
    ],
)
def test_copies(
    between: Callable[[Tensor], Tensor],
    behind: Callable[[Tensor], Tensor],
    copies: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(zero_blocks, "choose", lambda pattern, *_: Choice(pattern.nnz < pattern.keep.numel(), "test"))
    monkeypatch.setattr(zero_blocks, "CHECK_POSITIONS", 0)
    graphs: list[GraphModule] = []
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _: lambda graph, _: graphs.append(graph) or graph)
    model, x = Chain(between, behind).eval(), torch.randn(2, 32, 8, 8)
    compiled = torch.compile(model, backend="cannon", fullgraph=True)
    with torch.no_grad():
        found, expected = compiled(x), model(x)
    for ours, right in zip(*(y if isinstance(y, tuple) else (y,) for y in (found, expected)), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-4)
        if isinstance(ours, Tensor):
            assert ours.is_contiguous() is right.is_contiguous()
    graph = next(g for g in graphs if any(n.target is backend.BS_CONV2D for n in g.graph.nodes))
    readers = [user for n in graph.graph.nodes if n.target == "contiguous" for user in n.users]
    assert sorted(getattr(n.target, "__name__", n.target) for n in readers) == copies
