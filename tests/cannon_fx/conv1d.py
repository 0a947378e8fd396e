"""GPT-2's linear layer, for tests where transformers is not installed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn


class Conv1D(nn.Module):
    """A linear layer with its weight as [in, out], as GPT-2 has it in transformers."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


Conv1D.__module__, Conv1D.__qualname__ = "transformers.pytorch_utils", "Conv1D"


def import_conv1d(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the class where copies and pickles say that it is."""
    for name in ("transformers", Conv1D.__module__):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[Conv1D.__module__], "Conv1D", Conv1D, raising=False)
