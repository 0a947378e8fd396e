"""A sparse network comes back from disk bit-equal; a dense loader reads it; a misfit is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
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


@pytest.mark.parametrize("packed", [False, True])
def test_round_trip(
    sparse: AppliedPlan,
    network: nn.Module,
    make_network: Callable[[], nn.Module],
    image: Tensor,
    tmp_path: Path,
    packed: bool,
) -> None:
    network(image)  # moves the batch norm's statistics
    path = sparse.save(tmp_path, packed)
    fresh = make_network()
    loaded = load(path if packed else tmp_path, fresh)
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


def test_packed_holds_the_kept_blocks_alone(
    sparse: AppliedPlan, make_network: Callable[[], nn.Module], tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(sparse.save(tmp_path, packed=True))
    for name, module in sparse.modules.items():
        weight = tensors[f"{name}.weight"]
        assert len(weight) == (len(module.weight) if module.dense else module.pattern.nnz)
    wide = make_network()
    wide.down = nn.Conv2d(8, 16, 1, stride=2)
    with pytest.raises(MappingError, match=r"'down\.weight' is \(16, 8, 3, 3\) in the file and \(16, 8, 1, 1\)"):
        load(tmp_path, wide)


def test_a_large_cut_layer_is_smaller_packed(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(512, 512))
    plan = apply_cannon(network, torch.zeros(1, 512))
    plan.modules["0"].cut(torch.rand(plan.modules["0"].pattern.shape) < 0.25)
    sizes = [plan.save(tmp_path, packed).stat().st_size for packed in (False, True)]
    assert sizes[1] < (plan.modules["0"].pattern.density + 0.02) * sizes[0]


def rewrite_plan(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the JSON in the file's metadata."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    plan = json.loads(metadata["cannon"])
    plan = change(plan) or plan
    metadata["cannon"] = plan if isinstance(plan, str) else json.dumps(plan)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata)


def first_schema(plan: dict[str, Any]) -> dict[str, Any]:
    """What schema 1 looked like."""
    return {"schema": 1} | {key: plan[key] for key in ("chip", "options", "inputs", "keep")}


def test_an_older_schema_is_brought_up_to_date(
    sparse: AppliedPlan, network: nn.Module, make_network: Callable[[], nn.Module], image: Tensor, tmp_path: Path
) -> None:
    rewrite_plan(sparse.save(tmp_path), first_schema)
    fresh = make_network()
    load(tmp_path, fresh)
    assert torch.equal(network.eval()(image), fresh.eval()(image))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: "{", RunError, "is damaged: "),
        (lambda p: "[]", RunError, "is damaged: "),
        (lambda p: p.update(schema_version=3), RunError, "schema 3, this cannon_fx reads 1 to 2"),
        (lambda p: p.pop("keep") and None, RunError, "damaged at 'keep'"),
        (lambda p: p["inputs"][0].update(shape="x"), RunError, r"damaged at 'inputs\.0\.shape'"),
        (lambda p: p["keep"].update(hidden="ff"), MappingError, "the mask of layer 'hidden' has 1 bytes"),
        (lambda p: p["keep"].update(hidden="no"), RunError, "damaged at 'keep"),
        (lambda p: p["inputs"][0].update(dtype="float33"), RunError, r"damaged at 'inputs\.0\.dtype'"),
        (lambda p: p["keep"].pop("hidden") and None, None, ""),
        (lambda p: p["keep"].update(other="ff"), MappingError, "'other' matches none"),
    ],
)
def test_damaged_plans_are_refused(
    sparse: AppliedPlan,
    make_network: Callable[[], nn.Module],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    error: type[Exception] | None,
    message: str,
) -> None:
    rewrite_plan(sparse.save(tmp_path), change)
    fresh = make_network()
    if error is None:
        assert "hidden" not in load(tmp_path, fresh).modules
        return
    with pytest.raises(error, match=message):
        load(tmp_path, fresh)
    assert type(fresh.hidden) is nn.Linear


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
