"""The check of a model finds what it is there to find."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cannon_fx import Chip
from cannon_fx.modules import BlockSparseLinear
from cannon_fx.zoo.check import check
from cannon_fx.zoo.entry import Entry

CHIP = "demo-32nm"


class Net(nn.Module):
    """Dropout, batch norm, two outputs, a layer that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.head, self.side = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.drop(self.norm(self.conv(x)).relu()).mean((2, 3))
        return {"logits": self.head(x)} | ({"side": self.side(x)} if self.training else {})


def net() -> nn.Module:
    return Net()


def row(line: str) -> dict[str, object]:
    return check(Entry.parse(f"{__name__}:{line}", "here"), CHIP)


def test_a_model_that_stays_what_it_is() -> None:
    found = check(
        Entry.parse(
            "torch.nn:Sequential(torch.nn.Linear(16, 32), torch.nn.Dropout(), torch.nn.Linear(32, 4)) 2,16", "x"
        ),
        CHIP,
    )
    assert (found["ok"], found["error"], found["layers"], found["unmapped"]) == (True, None, 2, 0)
    assert found["differences"] == {"outputs": 0.0, "loss": 0.0, "gradients": 0.0, "buffers": 0.0}


def test_training_and_eval_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check(_Given(Net(), torch.randn(2, 3, 8, 8)), CHIP)  # type: ignore[arg-type]
    assert (found["ok"], found["layers"], found["reasons"]) == (True, 2, {"does not run in eval mode": 1})


def test_a_wrong_result_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        BlockSparseLinear, "forward", lambda self, x: nn.functional.linear(x, self.weight, self.bias) * 1.001
    )
    found = check(_Given(Net(), torch.randn(2, 3, 8, 8)), CHIP)  # type: ignore[arg-type]
    assert not found["ok"]
    assert "outputs differ by" in str(found["error"])
    assert "gradients differ by" in str(found["error"])


def test_an_error_is_a_row() -> None:
    found = check(Entry.parse("torch.nn:LazyLinear(3) 2,4", "here"), CHIP)
    assert not found["ok"]
    assert str(found["error"]).startswith("ValueError: Attempted to use an uninitialized parameter")


def test_a_model_without_mapped_layers_does_not_pass() -> None:
    found = check(Entry.parse("torch.nn:PReLU() 2,4", "here"), CHIP)
    assert not found["ok"]
    assert found["error"] == "nothing is mapped"


def test_the_chip_counts() -> None:
    entry = Entry.parse("torch.nn:Sequential(torch.nn.Linear(600, 70)) 2,600", "here")
    assert check(entry, "siam-32nm")["tiles"] == 4
    assert Chip.load("siam-32nm").tile_columns == 64


class _Given:
    """An entry whose model and inputs are there already."""

    line = "given"

    def __init__(self, model: nn.Module, *inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs

    def build(self) -> nn.Module:
        return self.model

    def arguments(self, model: nn.Module) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        return self.inputs, {}


def test_a_zero_gain_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.branch, self.gain = nn.Linear(8, 8), nn.Linear(8, 8), nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.gain * self.branch(self.stem(x))

    twice = BlockSparseLinear.forward
    monkeypatch.setattr(BlockSparseLinear, "forward", lambda self, x: 2 * twice(self, x))
    found = check(_Given(Branch(), torch.randn(2, 8)), CHIP)  # type: ignore[arg-type]
    assert "outputs differ by" in str(found["error"])


def test_what_is_not_finite_cannot_be_compared() -> None:
    found = check(_Given(nn.Sequential(nn.Linear(4, 4)), torch.full((2, 4), torch.inf)), CHIP)  # type: ignore[arg-type]
    assert "not finite" in str(found["error"])


def test_a_buffer_may_get_its_size_when_the_model_first_runs() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.register_buffer("scale", torch.zeros(1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.scale.shape != x.shape[1:]:
                self.scale = torch.arange(1.0, 1 + x.shape[1])
            return self.fc(x) * self.scale

    found = check(_Given(Late(), torch.randn(2, 4)), CHIP)  # type: ignore[arg-type]
    assert (found["ok"], found["error"]) == (True, None)
