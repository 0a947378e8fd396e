"""Capture reads only: modes, parameters, buffers, gradients and random state stay; errors say what to do."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from oracle import chip
from torch import Tensor, nn

from cannon_fx.applied import applied_plan
from cannon_fx.compile import apply_cannon, plan
from cannon_fx.errors import CaptureError
from cannon_fx.inputs import samples_of
from cannon_fx.modules import BlockSparse

CHIP = chip(rows=8, columns=8)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """torch.export logs what it cannot trace; these tests make it fail on purpose."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


class Stateful(nn.Module):
    """Everything that a forward pass in training mode would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).eval()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(1))
        self.conv.bias.requires_grad_(False)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls.add_(1)
        return self.head(self.drop(self.frozen(self.norm(F.relu(self.conv(x))))).mean((2, 3)))


def captured(model: nn.Module, *example: Any) -> None:
    plan(model, *example, chip=CHIP)


@pytest.mark.parametrize("fails", [False, True])
def test_a_plan_leaves_the_model_as_it_was(fails: bool) -> None:
    model = Stateful()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    state = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    classes = {name: type(module) for name, module in model.named_modules()}
    example = torch.randn(5, 2 if fails else 3, 4, 4)
    before, random = example.clone(), torch.random.get_rng_state()
    if fails:
        with pytest.raises(CaptureError):
            captured(model, example)
    else:
        captured(model, example)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.equal(example, before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: type(module) for name, module in model.named_modules()} == classes
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(state)
    for name, (tensor, value) in state.items():
        assert after[name] is tensor, name
        assert torch.equal(tensor, value), name
    assert torch.equal(model.head.weight.grad, torch.ones_like(model.head.weight))
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["conv.bias"]


def test_the_path_of_eval_mode_is_captured() -> None:
    class Forks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if self.training else self.b(x)

    model = Forks().train()
    assert [layer.name for layer in plan(model, torch.zeros(1, 4), chip=CHIP).layers] == ["b"]


def test_an_input_that_the_model_writes_into_is_not_written_into() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.add_(1))

    example = torch.zeros(2, 4)
    captured(Writes(), example)
    assert not example.any()


def test_costs_are_of_samples_of_whatever_the_batch() -> None:
    model = Stateful()
    one, many = (plan(model, torch.zeros(batch, 3, 4, 4), chip=CHIP) for batch in (1, 7))
    assert [layer.positions for layer in one.layers] == [layer.positions for layer in many.layers] == [16, 1]
    assert one.inputs["conv"].elements.sum() == many.inputs["conv"].elements.sum() == 3 * 16


@pytest.mark.parametrize("wrap", [tuple, list])
def test_several_inputs_are_given_as_a_tuple_or_list(wrap: type) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, y: Tensor, flip: bool = False) -> Tensor:
            return self.a(x) if flip else self.a(x) + self.b(y)

    found = plan(Pair(), wrap([torch.zeros(2, 4), torch.zeros(2, 3)]), chip=CHIP)
    assert [layer.name for layer in found.layers] == ["a", "b"]
    found = plan(Pair(), wrap([torch.zeros(2, 4), torch.zeros(2, 3), True]), chip=CHIP)
    assert [layer.name for layer in found.layers] == ["a"]


def refused(model: nn.Module, *example: Any) -> str:
    """The message of the CaptureError: one paragraph of a readable length."""
    with pytest.raises(CaptureError) as caught:
        captured(model, *example)
    message = str(caught.value)
    assert "\n" not in message
    assert 40 < len(message) < 600
    return message


def test_a_wrong_input_shape_is_an_error_with_the_shape() -> None:
    message = refused(Stateful(), torch.zeros(2, 2, 4, 4))
    assert "[1, 2, 4, 4]" in message
    assert "Stateful" in message
    assert "Check that it runs with these inputs" in message


def test_control_flow_that_depends_on_data_is_an_error_that_says_so() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) if x.sum() > 0 else x

    message = refused(Branching(), torch.zeros(1, 4))
    assert "control flow" in message
    assert "Branching" in message


def test_sentences_of_an_error_end_before_the_next_begins() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("what the model says")

    message = refused(Fails(), torch.zeros(1, 4))
    assert "KeyError" in message
    assert "what the model says" in message
    assert ". Check that" in message


@pytest.mark.parametrize("example", [torch.zeros(0, 4), torch.tensor(1.0)])
def test_an_input_without_a_sample_is_an_error(example: Tensor) -> None:
    message = refused(nn.Sequential(nn.Linear(4, 4)), example)
    assert str(list(example.shape)) in message
    assert "batch" in message


def test_the_input_of_a_first_linear_layer_is_guessed() -> None:
    found = plan(nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 2)), chip=CHIP)
    assert found.inputs["0"].elements.sum() == 12
    double = plan(nn.Sequential(nn.Linear(5, 4)).double(), chip=CHIP)
    assert double.inputs["0"].elements.sum() == 5


@pytest.mark.parametrize(
    ("layer", "example"),
    [(nn.Conv2d(3, 4, 1), "torch.randn(1, 3, 32, 32)"), (nn.Conv1d(5, 4, 1), "torch.randn(1, 5, 32)")],
)
def test_without_inputs_a_first_convolution_is_an_error_that_says_what_to_pass(layer: nn.Module, example: str) -> None:
    message = refused(nn.Sequential(nn.ReLU(), layer, nn.Flatten(), nn.Linear(4, 2)))
    assert example in message
    assert "'1'" in message


def test_without_inputs_and_layers_is_an_error() -> None:
    assert "Pass example_inputs" in refused(nn.ReLU())


def test_tensors_inside_lists_and_dicts_are_narrowed_too() -> None:
    given, named = samples_of(([torch.zeros(8, 16)], {"mask": torch.zeros(8, 3)}, 2))
    assert [tuple(t.shape) for t in (given[0][0], given[1]["mask"])] == [(1, 16), (1, 3)]
    assert (given[2], named) == (2, {})


def test_keyword_inputs() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor, *, scale: float, shift: Tensor | None = None) -> Tensor:
            y: Tensor = self.fc(x) * scale
            return y if shift is None else y + shift

    x = torch.zeros(3, 4)
    for given in ({"x": x, "scale": 2.0}, ((x,), {"scale": 2.0, "shift": x})):
        assert len(plan(nn.ModuleDict({"net": Keyword()})["net"], given).layers) == 1
    with pytest.raises(CaptureError, match=r"scale = 'two'"):
        plan(Keyword(), {"x": x, "scale": "two"})


class Mixer(nn.Module):
    """Sequences first: [steps, batch, 4], with a mask over steps that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return torch.einsum("st,tbc->sbc", mask, self.fc(x))


def test_the_batch_may_be_another_dimension_or_none() -> None:
    x, mask = torch.zeros(6, 3, 4), torch.zeros(6, 6)
    one, whole = (plan(Mixer(), (x, mask), chip=CHIP, batch_dim=dim).layers[0].positions for dim in (1, None))
    assert (one, whole) == (6, 18)
    message = refused(Mixer(), (torch.zeros(()), mask))
    assert "batch_dim=None" in message


def test_a_tensor_without_the_batch_stays_whole() -> None:
    (x, mask, samples), named = samples_of((torch.zeros(2, 5), torch.zeros(5, 5), torch.zeros(2)), 0)
    assert [tuple(tensor.shape) for tensor in (x, mask, samples)] == [(1, 5), (5, 5), (1,)]
    assert named == {}


class Cache:
    """What torch.export knows nothing of."""

    def __init__(self, keys: Tensor) -> None:
        self.layers, self.name = [{"keys": keys}], "cache"


def test_outputs_may_be_objects_of_any_class() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"out": self.fc(x), "cache": Cache(self.key(x))}

    model = Remembers()
    found = plan(model, torch.zeros(2, 4), chip=CHIP)
    assert [layer.name for layer in found.layers] == ["fc", "key"]
    assert isinstance(model(torch.zeros(2, 4))["cache"], Cache)
    assert "forward" not in vars(model)


def test_a_forward_of_the_object_itself_comes_back() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    own = model.forward = lambda x: model[0](x) * 2  # type: ignore[method-assign,assignment]
    captured(model, torch.zeros(1, 4))
    assert model.forward is own


def test_a_compiled_model_is_rewritten_inside() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(3, 4)
    expected = model(x)
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=0)
    applied = apply_cannon(compiled, x, chip=CHIP)
    assert isinstance(model[0], BlockSparse)
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=0)
    applied.modules["0"].cut(torch.zeros_like(applied.modules["0"].pattern.keep))
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=0)
    assert not torch.equal(compiled(x), expected)
    assert applied_plan(compiled) is applied


def test_a_data_parallel_model_is_rewritten_inside(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        wrapped = nn.parallel.DistributedDataParallel(model)
        x = torch.randn(3, 4)
        applied = apply_cannon(wrapped, x, chip=CHIP)
        assert isinstance(model[0], BlockSparse)
        wrapped(x).sum().backward()
        assert model[0].weight.grad is not None
        assert applied_plan(wrapped) is applied
    finally:
        torch.distributed.destroy_process_group()


def test_a_lazy_module_is_refused_until_it_has_run() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    message = refused(model, torch.zeros(2, 3))
    assert "'0.weight'" in message
    assert "lazy" in message
    model(torch.zeros(2, 3))
    captured(model, torch.zeros(2, 3))


def test_weights_on_meta_are_planned_from_inputs_anywhere() -> None:
    with torch.device("meta"):
        model = Stateful()
    on_meta, real = (plan(m, torch.zeros(2, 3, 4, 4), chip=CHIP) for m in (model, Stateful()))
    assert on_meta.cost().energy_pj == real.cost().energy_pj
