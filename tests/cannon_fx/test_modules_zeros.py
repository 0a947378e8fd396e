"""Zeros in place in a densely computed layer: nothing is written that others own or have saved."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cannon_fx import apply_cannon
from cannon_fx.modules import BlockSparse


def large(cut: bool = True) -> BlockSparse:
    """A layer that is computed densely."""
    module = apply_cannon(nn.Sequential(nn.Linear(256, 256)), torch.randn(1, 256), chip="siam-32nm").modules["0"]
    if cut:
        module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    return module


def test_the_callers_mask_may_change_afterwards() -> None:
    module = large(cut=False)
    keep = torch.ones(module.pattern.shape, dtype=torch.bool)
    keep[:, 0] = False
    module.cut(keep)
    keep.zero_()
    before = module.weight.clone()
    module(torch.randn(3, 256))
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("grad", [False, True])
def test_only_the_modules_own_weight_is_zeroed(grad: bool) -> None:
    module, other, x = large(), nn.Linear(256, 256), torch.randn(3, 256)
    before, right = other.weight.clone(), F.linear(x, other.weight * module.mask, other.bias)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(torch.func.functional_call(module, dict(other.named_parameters()), (x,)), right)
        module.load_state_dict(other.state_dict(), assign=True)
        torch.testing.assert_close(module(x), right)
    assert torch.equal(other.weight, before)
    assert module.own[0] is not module.weight
    assert copy.deepcopy(large()).double().own[0].dtype == torch.float64


def test_a_weight_that_a_graph_has_saved_is_not_written_behind_its_back() -> None:
    module, x = large(), torch.randn(3, 256, requires_grad=True)
    with torch.no_grad():
        module.weight.add_(1)
    y = F.linear(x, module.weight)
    module(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = F.linear(x, module.weight)
    module(x)  # finds its zeros, and writes nothing
    y.sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_cut_may_be_anything(compiled: bool) -> None:
    module, x = large(), torch.randn(3, 256)
    with torch.no_grad():
        right = module(x)
        module.weight[~module.mask] = float("inf")
    run = torch.compile(module, fullgraph=True, backend="aot_eager") if compiled else module
    torch.testing.assert_close(run(x), right)
    gradient = torch.autograd.grad(run(x), module.weight, torch.full_like(right, float("inf")))[0]
    assert not gradient[~module.mask].any()


def test_forward_derivatives_by_a_weight_that_is_cut() -> None:
    module, x, tangent = large(), torch.randn(3, 256), torch.randn(256, 256)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(module.weight.detach(), tangent)
        y = torch.func.functional_call(module, {"weight": dual}, (x,))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(y).tangent, x @ (tangent * module.mask).t())
