"""Small networks and loaders that several tests use."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    """Stem, residual block, strided layer, concatenation and two linear layers on 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.side = nn.Conv2d(8, 8, 1, stride=2)
        self.hidden = nn.Linear(24 * 4, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.inner(x) + x)
        x = torch.relu(torch.cat([self.down(x), self.side(x)], 1))
        x = torch.flatten(nn.functional.max_pool2d(x, 2), 1)
        return self.head(torch.relu(self.hidden(x)))


@pytest.fixture
def make_network() -> Callable[[], nn.Module]:
    """Makes the same untrained network at every call."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return TinyNet()

    return make


@pytest.fixture
def network(make_network: Callable[[], nn.Module]) -> nn.Module:
    return make_network()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    """Four batches of a task that TinyNet learns in seconds: which row of the image is bright."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 8, (128,), generator=generator)
    images = 0.3 * torch.randn(128, 1, 8, 8, generator=generator)
    images[torch.arange(128), 0, labels] += 1
    return [(images[k : k + 32], labels[k : k + 32]) for k in range(0, 128, 32)]
