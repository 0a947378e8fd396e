"""torch.export and AOTInductor packages of a sparse network, with a dynamic batch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cannon_fx import apply_cannon
from cannon_fx.kernels.choice import Choice


@pytest.fixture
def exported(network: nn.Module, image: Tensor) -> ExportedProgram:
    plan = apply_cannon(network.eval(), image, chip="demo-32nm", group_size=2)
    for k, module in enumerate(plan.modules.values()):
        module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(k)) < 0.5)
        module.choice = Choice(True, "to test it")
    with torch.no_grad():
        return torch.export.export(network, (image,), dynamic_shapes=({0: Dim("batch", min=2)},))


def images() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(9))


def test_exported_saved_and_decomposed(exported: ExportedProgram, network: nn.Module, tmp_path: Path) -> None:
    assert sum("cannon.bs_" in str(node.target) for node in exported.graph.nodes) == 6
    torch.export.save(exported, tmp_path / "network.pt2")
    expected = network(images())
    for program in (exported, torch.export.load(tmp_path / "network.pt2"), exported.run_decompositions()):
        torch.testing.assert_close(program.module()(images()), expected)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler on CPU")
def test_ahead_of_time_package(exported: ExportedProgram, network: nn.Module, tmp_path: Path) -> None:
    """A process that runs it needs the ops alone, not the network."""
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "network.pt2"))
    torch.save((images(), network(images()).detach()), tmp_path / "pair.pt")
    code = (
        "import sys, torch, cannon_fx.kernels.ops; x, y = torch.load(sys.argv[2]); "
        "torch.testing.assert_close(torch._inductor.aoti_load_package(sys.argv[1])(x), y)"
    )
    subprocess.run([sys.executable, "-c", code, package, str(tmp_path / "pair.pt")], check=True)
