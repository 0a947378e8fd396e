"""torch.compile(model, backend="cannon") is found without an import and changes no result."""

from __future__ import annotations

import copy
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from cannon_fx import Chip, apply_cannon, plan, zero_blocks
from cannon_fx.cost import cost
from cannon_fx.kernels.choice import Choice

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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner": "eager"}, "no option 'inner'"),
        ({"inner_backend": "eager", "strict": 1}, "option 'strict'.* is 1: it must be bool"),
        ({"chip": 32}, "option 'chip'.* is 32: it must be str \\| Path \\| Chip"),
        ({"inner_backend": 3}, "option 'inner_backend'.* is 3: it must be str"),
    ],
)
def test_wrong_options_are_named(network: nn.Module, image: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        torch.compile(network, backend="cannon", options=options)(image)


class Blocks(nn.Module):
    """Zero blocks in a convolution whose result is viewed, and in a linear layer; another layer with none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.hidden = nn.Linear(64 * 16, 128)
        self.head = nn.Linear(128, 10)
        with torch.no_grad():
            self.conv.weight[:32, 16:] = 0
            self.hidden.weight[64:, :512] = 0
            self.hidden.weight[:32, 512:] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        x = torch.relu(self.hidden(x.view(x.size(0), -1)))
        return self.head(x)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """In eval mode; every layer with a zero block is taken for worth it."""
    torch._dynamo.reset()
    monkeypatch.setattr(zero_blocks, "choose", lambda pattern, *_: Choice(pattern.nnz < pattern.keep.numel(), "test"))
    monkeypatch.setattr(zero_blocks, "CHECK_POSITIONS", 0)
    torch.manual_seed(0)
    return Blocks().eval()


def images(batch: int) -> Tensor:
    return torch.randn(batch, 32, 4, 4, generator=torch.Generator().manual_seed(batch))


def sparse_ops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The block-sparse ops of every graph that reaches the inner backend "eager", as it comes."""
    found: list[str] = []
    lookup = torch._dynamo.lookup_backend

    def listing(name: str) -> Any:
        def compiler(graph: GraphModule, inputs: list[Any]) -> Any:
            found.extend(n.name for n in graph.graph.nodes if "cannon" in str(n.target) and n.op == "call_function")
            return lookup(name)(graph, inputs)

        return compiler

    monkeypatch.setattr(torch._dynamo, "lookup_backend", listing)
    return found


@pytest.mark.parametrize(("inner", "_sparse"), [("eager", True), ("aot_eager", True), INDUCTOR])
def test_zero_blocks_of_any_model(
    blocks: nn.Module, inner: str, _sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sparse_ops(monkeypatch)
    compiled = torch.compile(blocks, backend="cannon", options={"inner_backend": inner}, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for batch in (3, 5):
            torch.testing.assert_close(compiled(images(batch)), blocks(images(batch)), rtol=1e-4, atol=1e-5)
    assert len(found) == 2
    assert compiled(images(3)).is_contiguous()
    compiled(images(3)).sum().backward()
    assert blocks.hidden.weight.grad[64:, :512].any(), "a zero weight has a gradient"
    assert len(found) == 2, "where gradients may be wanted, the graph is dense"


def overwrite(module: nn.Linear) -> None:
    with torch.no_grad():
        module.weight += 0.1


def behind_autograd(module: nn.Linear) -> None:
    module.weight.data[70, 3] = 5.0


def to_nan(module: nn.Linear) -> None:
    module.weight.data[70, 3] = math.nan


def other_storage(module: nn.Linear) -> None:
    module.weight.data = torch.randn_like(module.weight)


def new_state(module: nn.Linear) -> None:
    module.load_state_dict(nn.Linear(module.in_features, module.out_features).state_dict())


def new_parameter(module: nn.Linear) -> None:
    module.weight = nn.Parameter(torch.randn_like(module.weight))


@pytest.mark.parametrize("change", [overwrite, behind_autograd, to_nan, other_storage, new_state, new_parameter])
@pytest.mark.parametrize("inner", ["eager", "aot_eager"])
def test_weights_that_change_count_at_once(
    blocks: nn.Module, inner: str, change: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sparse_ops(monkeypatch)
    compiled = torch.compile(blocks, backend="cannon", options={"inner_backend": inner})
    before = {key: value.clone() for key, value in blocks.state_dict().items()}
    with torch.no_grad():
        first = compiled(images(2))
        assert found
        change(blocks.hidden)
        for batch in (2, 3):
            expected = blocks(images(batch))
            torch.testing.assert_close(compiled(images(batch)), expected, rtol=1e-4, atol=1e-5, equal_nan=True)
        blocks.load_state_dict(before)
        torch.testing.assert_close(compiled(images(2)), first)


def test_a_layer_that_is_used_twice_or_written_by_the_graph_stays_dense(blocks: nn.Module) -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            blocks.hidden.weight.add_(1)
            return blocks(x)

    with torch.no_grad():
        twin = copy.deepcopy(blocks)
        twin.hidden.weight += 1
        compiled = torch.compile(Writes(), backend="cannon", options={"inner_backend": "eager"})
        torch.testing.assert_close(compiled(images(2)), twin(images(2)))


def test_a_graph_that_switches_gradients_on_gets_them(blocks: nn.Module) -> None:
    def loss(x: Tensor) -> Tensor:
        with torch.enable_grad():
            return blocks(x).square().sum()

    with torch.no_grad():
        value = torch.compile(loss, backend="cannon", options={"inner_backend": "eager"})(images(2))
    value.backward()
    assert blocks.hidden.weight.grad[64:, :512].any()


def test_graph_breaks_autocast_and_channels_last(blocks: nn.Module) -> None:
    def broken(x: Tensor) -> Tensor:
        x = blocks.conv(x)
        torch._dynamo.graph_break()
        return blocks.hidden(x.view(x.size(0), -1))  # as contiguous as in eager mode

    compiled = torch.compile(broken, backend="cannon", options={"inner_backend": "eager"})
    with torch.no_grad():
        torch.testing.assert_close(compiled(images(2)), broken(images(2)), rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(compiled(images(2)), broken(images(2)))
        blocks.conv.to(memory_format=torch.channels_last)
        x = images(2).contiguous(memory_format=torch.channels_last)
        whole = torch.compile(blocks.conv, backend="cannon", options={"inner_backend": "eager"})
        torch.testing.assert_close(whole(x), blocks.conv(x), rtol=1e-4, atol=1e-5)
        assert whole(x).stride() == blocks.conv(x).stride()


def test_strict_and_report(blocks: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"inner_backend": "eager", "report": str(tmp_path / "report.txt"), "strict": True}
    with torch.no_grad():
        torch.compile(blocks, backend="cannon", options=options)(images(2))
    assert (tmp_path / "report.txt").read_text().splitlines() == [
        "conv: test",
        "hidden: test",
        "head: dense: no block of 16 x 16 is zero",
    ]
    monkeypatch.undo()
    torch._dynamo.reset()
    with torch.no_grad(), pytest.raises(Exception, match="zero blocks but runs dense: the layer is small"):
        torch.compile(blocks.hidden, backend="cannon", options=options)(torch.randn(1, 1024))


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler on CPU")
def test_modes_go_to_inductor(blocks: nn.Module) -> None:
    compiled = torch.compile(blocks, backend="cannon", mode="reduce-overhead")
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(compiled(images(2)), blocks(images(2)), rtol=1e-4, atol=1e-5)


def test_chip_prices_the_layers_as_the_plan_does(network: nn.Module, image: Tensor, tmp_path: Path) -> None:
    torch._dynamo.reset()
    found = plan(network.eval(), image, chip="demo-32nm", batch_dim=None)
    keep = found.full()
    down = next(layer for layer in found.layers if layer.name == "down")
    with torch.no_grad():
        network.down.weight[: down.out_block, :] = 0
    keep["down"][0] = False
    expected = cost(found, keep)
    report = tmp_path / "report.txt"
    options = {"inner_backend": "eager", "chip": "demo-32nm", "report": report}
    torch.testing.assert_close(torch.compile(network, backend="cannon", options=options)(image), network(image))
    lines = report.read_text().splitlines()
    assert lines[-1] == (
        f"together: {expected.energy_pj:,.0f} pJ, {expected.latency_cycles:,.0f} cycles per call, of the whole batch"
    )
    for layer in found.layers:
        sums = expected.of(name=layer.name)
        assert any(
            line.startswith(f"{layer.name}: dense: ")
            and line.endswith(f"; {sums.energy_pj:,.0f} pJ, {sums.latency_cycles:,.0f} cycles")
            for line in lines
        )


def test_chip_of_a_network_from_apply_cannon(network: nn.Module, image: Tensor, tmp_path: Path) -> None:
    torch._dynamo.reset()
    applied = apply_cannon(network.eval(), image, chip="demo-32nm", group_size=2)
    applied.modules["down"].cut(torch.zeros(applied.modules["down"].pattern.shape, dtype=torch.bool))
    report = tmp_path / "report.txt"
    options = {"inner_backend": "eager", "report": report}
    torch.compile(network, backend="cannon", options=options)(image)
    lines = report.read_text().splitlines()
    assert lines[-1].startswith(f"together: {applied.cost().energy_pj:,.0f} pJ, ")
    assert {line.partition(":")[0] for line in lines[:-1]} == {layer.name for layer in applied.layers}
    torch._dynamo.reset()
    with pytest.raises(Exception, match="has mapped this network for 'demo-32nm'"):
        torch.compile(network, backend="cannon", options={**options, "chip": "siam-32nm"})(image)


def test_what_cannot_be_priced_runs_all_the_same(network: nn.Module, image: Tensor, tmp_path: Path) -> None:
    torch._dynamo.reset()
    chip = Chip.load("demo-32nm")
    small = chip.model_copy(update={"noc": chip.noc.model_copy(update={"columns": 1, "rows": 1})})
    options = {"inner_backend": "eager", "chip": small, "report": tmp_path / "report.txt"}
    compiled = torch.compile(network.eval(), backend="cannon", options=options)
    assert torch.equal(compiled(image), network(image))
    assert "not priced: the network needs" in (tmp_path / "report.txt").read_text()
    with pytest.raises(Exception, match="unknown chip 'demo'"):
        torch.compile(nn.Linear(2, 2), backend="cannon", options={"chip": "demo"})(torch.ones(1, 2))


class Attentive(nn.Module):
    """Weights that functions read, a buffer, and numbers that a dynamic compilation makes tensors of."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.register_buffer("chosen", torch.arange(32) % 3 > 0)
        self.head = nn.Linear(32, 8)

    def forward(self, words: Tensor) -> Tensor:
        x = self.table(words)
        return self.head((x + self.attention(x, x, x)[0]) * self.chosen)


@pytest.mark.parametrize("dynamic", [False, True])
def test_chip_counts_weights_that_functions_read(dynamic: bool, tmp_path: Path) -> None:
    torch._dynamo.reset()
    model, words = Attentive().eval(), torch.arange(21).view(3, 7)
    expected = plan(model, words, chip="demo-32nm", batch_dim=None).cost()
    options = {"inner_backend": "eager", "chip": "demo-32nm", "report": tmp_path / "report.txt"}
    torch.compile(model, backend="cannon", dynamic=dynamic, options=options)(words)
    together = (tmp_path / "report.txt").read_text().splitlines()[-1]
    assert together.startswith(f"together: {expected.energy_pj:,.0f} pJ, {expected.latency_cycles:,.0f} cycles")
