"""Narrow layers compute and train as the dense op on a masked weight does."""

from __future__ import annotations

import copy
from typing import NamedTuple, Self

import pytest
import torch
import torch.nn.functional as F
from conv1d import Conv1D, import_conv1d
from torch import Tensor, nn

from cannon_fx import apply_cannon
from cannon_fx.kernels.choice import Choice
from cannon_fx.kernels.narrow import Columns
from cannon_fx.modules import BlockSparse


class Narrow(NamedTuple):
    """A layer of which whole input channels are cut, and what it computed before it was told so."""

    module: BlockSparse
    x: Tensor

    @classmethod
    def of(cls, layer: nn.Module, shape: tuple[int, ...], cut_more: bool) -> Self:
        x = torch.randn(shape, dtype=torch.float64)
        module = apply_cannon(nn.Sequential(layer.double()), x, chip="demo-32nm", group_size=1).modules["0"]
        keep = (torch.arange(module.pattern.shape[1]) % 3 == 0).repeat(module.pattern.shape[0], 1)
        keep[0, 0] &= not cut_more
        module.cut(keep)
        module.choice = Choice(False, "to test it")
        return cls(module, x)

    def results(self) -> list[Tensor]:
        """Output, and gradients of weight, bias and input."""
        x = self.x.clone().requires_grad_()
        y = self.module(x)
        return [y, *torch.autograd.grad(y.sin().sum(), (*self.module.parameters(), x))]

    def choose(self) -> None:
        self.module.choice = Choice(False, "to test it", narrow=True)
        self.module.columns = Columns.of(self.module.pattern, self.x.device)


@pytest.mark.parametrize("cut_more", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(13, 20), (2, 3, 13)),
        (Conv1D(20, 13), (2, 3, 13)),
        (nn.Conv2d(13, 20, 3, padding=1), (2, 13, 6, 5)),
        (nn.Conv2d(13, 20, (1, 3), stride=2, padding="valid", bias=False), (2, 13, 6, 5)),
        (nn.Conv2d(13, 20, 3, padding=2, padding_mode="reflect"), (2, 13, 6, 5)),
    ],
)
def test_a_narrow_layer_computes_and_trains_the_same(
    layer: nn.Module, shape: tuple[int, ...], cut_more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_conv1d(monkeypatch)
    torch._dynamo.reset()
    case = Narrow.of(copy.deepcopy(layer), shape, cut_more)
    expected = case.results()
    case.choose()
    assert case.module.columns.whole is not cut_more
    for found, right in zip(case.results(), expected, strict=True):
        torch.testing.assert_close(found, right)
    twin, exported = copy.deepcopy(case.module), torch.export.export(case.module, (case.x,)).module()
    compiled = torch.compile(case.module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for run in (case.module, case.module, twin, exported, compiled):
            torch.testing.assert_close(run(case.x), expected[0])
    torch.testing.assert_close(compiled(case.x), expected[0])


@pytest.mark.parametrize("choice", [Choice(False, "", narrow=True, samples=4), Choice(False, "", narrow=True)])
@pytest.mark.parametrize("rows", [[8, 8, 8], [8, 2, 8], [2, 8, 2]])
def test_inference_after_training_with_other_batches(rows: list[int], choice: Choice) -> None:
    """Whichever way the calls before took, and though a fused optimiser counts no version."""
    case = Narrow.of(nn.Linear(13, 20), (8, 13), cut_more=True)
    case.choose()
    module = case.module
    module.choice = choice
    optimizer = torch.optim.SGD([module.weight], lr=0.1, momentum=0.9, fused=True)
    optimizer.state[module.weight]["momentum_buffer"] = torch.ones_like(module.weight)
    for before, trained, after in [rows]:
        with torch.no_grad():
            module(case.x[:before])
        module(case.x[:trained]).sum().backward()
        with torch.no_grad():
            module(case.x[:before])
        optimizer.step()
        assert module.weight[~module.mask].any()
        with torch.no_grad():
            right = F.linear(case.x[:after], module.weight * module.mask, module.bias)
            torch.testing.assert_close(module(case.x[:after]), right)


def test_narrow_layers_of_unusual_inputs() -> None:
    case = Narrow.of(nn.Conv2d(13, 20, 3, padding=1), (4, 13, 6, 5), cut_more=True)
    x = case.x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def per_sample(image: Tensor) -> Tensor:
        return torch.func.vmap(torch.func.grad(lambda one: case.module(one[None]).sin().sum()))(image)

    def batched(image: Tensor) -> Tensor:
        y = case.module(image)
        return torch.autograd.grad(y, image, torch.stack([y.detach(), 2 * y.detach()]), is_grads_batched=True)[0]

    calls = [case.module, per_sample, batched, lambda x: case.module(x[0]), lambda x: case.module(x[:0])]
    expected = [call(x) for call in calls]
    case.choose()
    for call, right in zip(calls, expected, strict=True):
        torch.testing.assert_close(call(x), right)

    case = Narrow.of(nn.Linear(13, 20), (3, 13), cut_more=False)
    ragged = torch.nested.nested_tensor([case.x[:2], case.x], layout=torch.jagged)
    right = case.module(ragged).values()
    case.choose()
    torch.testing.assert_close(case.module(ragged).values(), right)
