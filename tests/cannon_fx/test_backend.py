"""torch.compile(model, backend="cannon") is found without an import and changes no result."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from cannon_fx import apply_cannon

INDUCTOR = pytest.param(
    "inductor", True, marks=pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler on CPU")
)


@pytest.mark.parametrize(("inner", "sparse"), [("eager", False), ("eager", True), ("aot_eager", True), INDUCTOR])
def test_outputs_and_gradients(network: nn.Module, image: Tensor, inner: str, sparse: bool) -> None:
    network.eval()  # batch statistics would amplify rounding
    if sparse:
        plan = apply_cannon(network, image, chip="demo-32nm", group_size=2)
        for k, module in enumerate(plan.modules.values()):
            module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(k)) < 0.5)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="cannon", options={"inner_backend": inner})
    expected = network(image)
    torch.testing.assert_close(compiled(image), expected, rtol=1e-5, atol=1e-6)
    expected.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    compiled(image).square().sum().backward()
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-5)


def test_recompiles_when_masks_change(network: nn.Module, image: Tensor) -> None:
    network.eval()
    plan = apply_cannon(network, image, chip="demo-32nm", group_size=2)
    compiled = torch.compile(network, backend="cannon", options={"inner_backend": "eager"})
    compiled(image)
    for density in (0.5, 0.2):
        for k, module in enumerate(plan.modules.values()):
            module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(k)) < density)
        torch.testing.assert_close(compiled(image), network(image))


def test_found_by_name_alone() -> None:
    code = (
        "import torch, sys; assert 'cannon_fx' not in sys.modules; "
        "f = torch.compile(torch.nn.Linear(2, 2), backend='cannon', options={'inner_backend': 'eager'}); "
        "f(torch.ones(1, 2)); "
        "assert 'cannon_fx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_option_is_named(network: nn.Module, image: Tensor) -> None:
    compiled = torch.compile(network, backend="cannon", options={"inner": "eager"})
    with pytest.raises(Exception, match="no option 'inner'"):
        compiled(image)
