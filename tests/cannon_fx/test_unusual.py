"""Models that use their weights in unusual ways: each layer is mapped and right, or listed with its own reason.

Right means: after half of all connections are cut, the network computes what a dense one with those weights computes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from oracle import chip
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from cannon_fx.applied import AppliedPlan
from cannon_fx.compile import apply_cannon

CHIP = chip(rows=16, columns=16)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.head = kind(8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.lm_head = nn.Embedding(12, 8), nn.Linear(8, 8), nn.Linear(8, 12, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.lm_head(self.fc(self.embed(x)))


class Experts(nn.Module):
    """All experts in one tensor, chosen softly."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 3), nn.Parameter(torch.randn(3, 8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bc,ecd,be->bd", x, self.experts, self.gate(x).softmax(-1))


class Auxiliary(nn.Module):
    """A second head that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head, self.aux = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.fc(x).relu()
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(self.fc(x).relu()))


class Functional(nn.Module):
    """A layer that never runs, since its weight is read from outside, as in torchvision's Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.linear(x, self.qkv.weight, self.qkv.bias).relu())


class Attention(nn.Module):
    """Steps first, as nn.MultiheadAttention has it by default."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(0))


def encoder() -> nn.Module:
    """Its eval mode takes a fused path without gradients, which reads weights and runs no module."""
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


def normalised() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 4))


HELD = "its weight belongs to no linear or convolution module of its own"
STEPS = "a recurrent layer, whose weights are used at every step"
CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str], dict[str, str]]] = {
    "lstm": (
        lambda: Recurrent(nn.LSTM), torch.randn(2, 5, 8), ["head"],
        {"rnn.weight_ih_l0": STEPS, "rnn.weight_hh_l0": STEPS},
    ),
    "gru": (
        lambda: Recurrent(nn.GRU), torch.randn(2, 5, 8), ["head"],
        {"rnn.weight_ih_l0": STEPS, "rnn.weight_hh_l0": STEPS},
    ),
    "tied": (
        Tied, torch.arange(10).view(2, 5), ["fc"],
        {
            "lm_head": "its weight is also embed.weight",
            "embed.weight": "an embedding, whose rows are looked up and not multiplied",
        },
    ),
    "experts": (
        Experts, torch.randn(2, 8), ["gate"],
        {"experts": "it is multiplied outside of any linear or convolution module"},
    ),
    "auxiliary head": (Auxiliary, torch.randn(2, 8), ["fc", "head"], {"aux": "does not run in eval mode"}),
    "shared module": (Twice, torch.randn(2, 8), ["head"], {"fc": "its weight is used more than once"}),
    "parametrised": (normalised, torch.randn(2, 8), ["2"], {"0": "its weight is parametrised"}),
    "functional": (Functional, torch.randn(2, 8), ["qkv", "head"], {}),
    "attention": (Attention, torch.randn(2, 5, 8), ["attention.out_proj", "head"], {"attention.in_proj_weight": HELD}),
    "encoder": (
        encoder, torch.randn(2, 5, 8),
        [f"layers.{n}.{name}" for n in (0, 1) for name in ("self_attn.out_proj", "linear1", "linear2")],
        {f"layers.{n}.self_attn.in_proj_weight": HELD for n in (0, 1)},
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, AppliedPlan]:
    """A model with half of its connections cut, its input, and its plan."""
    make, x, mapped, listed = CASES[request.param]
    torch.manual_seed(0)
    model = make()
    applied = apply_cannon(model, x, chip=CHIP, group_size=4)
    assert [layer.name for layer in applied.layers] == mapped
    assert {unmapped.name: unmapped.reason for unmapped in applied.unmapped} == listed
    for module in applied.modules.values():
        keep = torch.ones(module.pattern.shape, dtype=torch.bool)
        keep.view(-1)[::2] = False
        module.cut(keep)
    return model, x, applied


def dense_twin(model: nn.Module, request: pytest.FixtureRequest) -> nn.Module:
    """The dense model with the same weights."""
    twin = CASES[request.node.callspec.params["case"]][0]()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("gradients", [True, False])
def test_cut_weights_are_zeros_to_everyone(
    case: tuple[nn.Module, Tensor, AppliedPlan], gradients: bool, request: pytest.FixtureRequest
) -> None:
    model, x, _ = case
    twin = dense_twin(model, request)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(model.eval()(x), twin.eval()(x), rtol=1e-5, atol=1e-6)


def test_cut_weights_get_no_gradient_and_others_the_dense_one(
    case: tuple[nn.Module, Tensor, AppliedPlan], request: pytest.FixtureRequest
) -> None:
    model, x, applied = case
    twin = dense_twin(model, request)
    for net in (model, twin):
        torch.manual_seed(1)
        outputs = net.train()(x)
        torch.stack(
            [o.square().mean() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]
        ).sum().backward()
    masks = {f"{name}.weight": module.mask for name, module in applied.modules.items()}
    expected = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        gradient = expected[name].grad
        assert gradient is not None, name
        if name in masks:
            gradient = gradient * masks[name]
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)


def test_cut_weights_stay_zero_under_an_optimiser_with_momentum(case: tuple[nn.Module, Tensor, AppliedPlan]) -> None:
    model, x, applied = case
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(2):
        outputs = model.train()(x)
        (outputs[0] if isinstance(outputs, tuple) else outputs).square().sum().backward()
        optimizer.step()
    for name, module in applied.modules.items():
        assert not module.weight[~module.mask].any(), name
        assert module.weight[module.mask].any(), name


def test_a_copy_computes_the_same(case: tuple[nn.Module, Tensor, AppliedPlan]) -> None:
    model, x, _ = case
    torch.testing.assert_close(copy.deepcopy(model).eval()(x), model.eval()(x), rtol=0, atol=0)
