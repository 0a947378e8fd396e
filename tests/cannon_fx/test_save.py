"""A sparse network comes back from disk bit-equal; a dense loader reads it; a misfit is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from cannon_fx import AppliedPlan, MappingError, RunError, apply_cannon, load
from cannon_fx.save import save


@pytest.fixture
def sparse(network: nn.Module, image: Tensor) -> AppliedPlan:
    plan = apply_cannon(network, image, chip="demo-32nm", group_size=3, ignore=["side"], order="row-major")
    generator = torch.Generator().manual_seed(3)
    for module in plan.modules.values():
        module.cut(torch.rand(module.pattern.shape, generator=generator) < 0.6)
    return plan


def test_round_trip(
    sparse: AppliedPlan, network: nn.Module, make_network: Callable[[], nn.Module], image: Tensor, tmp_path: Path
) -> None:
    network(image)  # moves the batch norm's statistics
    sparse.save(tmp_path)
    fresh = make_network()
    loaded = load(tmp_path, fresh)
    assert torch.equal(network.eval()(image), fresh.eval()(image))
    assert {n: k.tolist() for n, k in loaded.keep().items()} == {n: k.tolist() for n, k in sparse.keep().items()}
    assert loaded.cost().energy_pj == sparse.cost().energy_pj
    assert loaded.chip == sparse.chip
    assert "side" not in loaded.modules


def test_a_dense_loader_reads_it_strictly(
    sparse: AppliedPlan, network: nn.Module, make_network: Callable[[], nn.Module], image: Tensor, tmp_path: Path
) -> None:
    dense = make_network()
    dense.load_state_dict(safetensors.torch.load_file(sparse.save(tmp_path)), strict=True)
    torch.testing.assert_close(network.eval()(image), dense.eval()(image))


def test_another_network_is_refused_and_left_alone(sparse: AppliedPlan, network: nn.Module, tmp_path: Path) -> None:
    sparse.save(tmp_path)
    other = nn.Sequential(nn.Linear(4, 4))
    before = other[0].weight.clone()
    with pytest.raises(MappingError, match=r"'0\.weight' is absent in the file"):
        load(tmp_path, other)
    assert torch.equal(other[0].weight, before)
    assert type(other[0]) is nn.Linear


def test_missing_damaged_and_dense_files(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot read"):
        load(tmp_path, network)
    (tmp_path / "weights.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunError, match="cannot read"):
        load(tmp_path, network)
    save(network, None, tmp_path)
    with pytest.raises(RunError, match="without a plan"):
        load(tmp_path, network)


def test_a_failed_write_keeps_the_old_file(
    sparse: AppliedPlan, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sparse.save(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="No space left"):
        sparse.save(tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


class Named(nn.Module):
    """Layers named like a class, and with brackets."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("Linear", nn.Linear(4, 4))
        self.add_module("a[0]", nn.Linear(4, 4))
        self.other = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


def test_odd_layer_names_come_back(tmp_path: Path) -> None:
    network = Named()
    apply_cannon(network, torch.zeros(1, 4), chip="demo-32nm", ignore=["other"]).save(tmp_path)
    assert set(load(tmp_path, Named()).modules) == {"Linear", "a[0]"}
