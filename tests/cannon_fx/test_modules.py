"""Rewriting changes nothing that the network computes, and cut connections stay exact zeros."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conv1d import Conv1D, import_conv1d
from torch import Tensor, nn

from cannon_fx import apply_cannon, load
from cannon_fx.kernels import dispatch
from cannon_fx.kernels.choice import Choice
from cannon_fx.modules import BlockSparseConv2d, BlockSparseLinear

CHIP = {"chip": "demo-32nm", "group_size": 2}


def test_outputs_are_bit_equal_in_eval_and_train(make_network: Callable[[], nn.Module], image: Tensor) -> None:
    old, new = make_network(), make_network()
    apply_cannon(new, image, **CHIP)
    for mode in (True, False):
        assert torch.equal(old.train(mode)(image), new.train(mode)(image))


def test_gradients_are_bit_equal(make_network: Callable[[], nn.Module], image: Tensor) -> None:
    old, new = make_network(), make_network()
    apply_cannon(new, image, **CHIP)
    for network in (old, new):
        network(image).square().sum().backward()
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_parameters_keys_hooks_and_modes_are_kept(network: nn.Module, image: Tensor) -> None:
    calls: list[int] = []
    network.stem.register_forward_hook(lambda *_: calls.append(1))
    network.head.weight.requires_grad_(False)
    network.inner.eval()
    parameters, keys = list(network.parameters()), list(network.state_dict())
    apply_cannon(network, image, **CHIP)
    assert isinstance(network.stem, BlockSparseConv2d)
    assert isinstance(network.head, BlockSparseLinear)
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
    assert list(network.state_dict()) == keys
    assert network.training
    assert not network.inner.training
    assert not network.head.weight.requires_grad
    calls.clear()  # capture runs the model, and so its hooks
    network(image)
    assert calls == [1]


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
def test_cut_layer_equals_dense_layer_with_zeros(image: Tensor, padding_mode: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 3, padding=1), nn.Conv2d(10, 12, 3, 2, 1, padding_mode=padding_mode))
    plan = apply_cannon(network, image, **CHIP)
    module = network[1]
    keep = torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    module.cut(keep)
    dense = nn.Conv2d(10, 12, 3, 2, 1, padding_mode=padding_mode)
    dense.load_state_dict(module.state_dict())
    for (j, g), kept in [((j, g), keep[j, g]) for j in range(keep.shape[0]) for g in range(keep.shape[1])]:
        block = dense.weight[8 * j : 8 * j + 8, 2 * g : 2 * g + 2]
        assert bool(block.any()) == bool(kept)
    x = network[0](image)
    assert torch.equal(module(x), dense(x))
    assert plan.keep()["1"].tolist() == keep.tolist()


def test_cut_weights_get_no_gradient_and_survive_momentum(network: nn.Module, image: Tensor) -> None:
    plan = apply_cannon(network, image, **CHIP)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    network(image).sum().backward()
    optimizer.step()  # momentum now points everywhere
    module = plan.modules["hidden"]
    keep = torch.zeros(module.pattern.shape, dtype=torch.bool)
    keep[0] = True
    module.cut(keep)
    optimizer.zero_grad()
    network(image).sum().backward()
    assert not module.weight.grad[~module.mask].any()
    optimizer.step()
    assert module.weight[~module.mask].any(), "momentum should have moved them"
    out = network(image)
    module.zero_cut_()
    assert not module.weight[~module.mask].any()
    assert torch.equal(out, network(image)), "the forward pass never used them"


def test_inference_masks_again_once_the_weight_was_written(network: nn.Module, image: Tensor) -> None:
    module = apply_cannon(network, image, **CHIP).modules["hidden"]
    module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    x = torch.randn(3, module.in_features)
    writes: list[Callable[[], object]] = [
        lambda: module.weight.add_(1),
        lambda: torch._foreach_add_([module.weight], 1.0),
        lambda: module.load_state_dict({name: t + 1 for name, t in module.state_dict().items()}),
        lambda: module.register_parameter("weight", nn.Parameter(module.weight + 1)),
        lambda: module.double().float().weight.add_(1),
        lambda: module.cut(module.pattern.keep.roll(1, 1)),
    ]
    for write in writes:
        module.zero_cut_()
        with torch.inference_mode():
            assert module.dense_weight() is module.weight
        with torch.no_grad():
            write()
            assert torch.equal(module.dense_weight(), module.weight * module.mask)
        assert torch.equal(copy.deepcopy(module)(x), module(x))
        assert module.dense_weight() is not module.weight, "gradients are masked"
    with torch.inference_mode():
        module.zero_cut_()
        module.weight.add_(1)
        assert torch.equal(module.dense_weight(), module.weight * module.mask)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("compiled", [False, True])
def test_inference_masks_again_after_fused_optimisers(
    optimizer: type[torch.optim.Optimizer], compiled: bool, network: nn.Module, image: Tensor
) -> None:
    module = apply_cannon(network, image, **CHIP).modules["hidden"]
    module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    if compiled:
        torch.compile(module, fullgraph=True, backend="aot_eager")(torch.randn(3, module.in_features))
    else:
        module(torch.randn(3, module.in_features))
    module.weight.grad = torch.ones_like(module.weight)
    optimizer([module.weight], lr=0.1, fused=True).step()  # counts no version
    assert module.weight[~module.mask].all()
    with torch.no_grad():
        assert torch.equal(module.dense_weight(), module.weight * module.mask)


def test_copies_are_independent(network: nn.Module, image: Tensor) -> None:
    plan = apply_cannon(network, image, **CHIP)
    twin = copy.deepcopy(network)
    plan.modules["down"].cut(torch.zeros(plan.modules["down"].pattern.shape, dtype=torch.bool))
    assert twin.down.weight.any()
    assert twin.down.mask.all()


def test_applying_twice_is_refused(network: nn.Module, image: Tensor) -> None:
    from cannon_fx import MappingError

    apply_cannon(network, image, **CHIP)
    with pytest.raises(MappingError, match="already holds block-sparse layers"):
        apply_cannon(network, image, **CHIP)


def test_meta_device(make_network: Callable[[], nn.Module]) -> None:
    """No weights are needed to see what a network would cost, nor to rewrite it."""
    network = make_network().to("meta")
    plan = apply_cannon(network, torch.zeros(1, 1, 8, 8, device="meta"), **CHIP)
    plan.modules["down"].cut(torch.zeros(plan.modules["down"].pattern.shape, dtype=torch.bool))
    assert plan.cost().energy_pj > 0
    assert network(torch.zeros(2, 1, 8, 8, device="meta")).shape == (2, 10)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
@pytest.mark.parametrize("padding", [1, "same", "valid", (2, 0)])
def test_sparse_kernels_compute_what_the_dense_layer_does(
    padding_mode: str, padding: int | str | tuple[int, int]
) -> None:
    image = torch.randn(2, 10, 7, 9)
    network = nn.Sequential(nn.Conv2d(10, 12, (3, 4), padding=padding, padding_mode=padding_mode))
    apply_cannon(network, image, **CHIP)
    module = network[0]
    module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    assert not module.choice.sparse
    assert "dense: " in str(module)
    dense = module(image)
    module.choice = Choice(True, "to test it")
    torch.testing.assert_close(module(image), dense, rtol=1e-4, atol=1e-5)


def test_a_large_layer_chooses_its_kernel_and_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "compiled", lambda dtype: True)
    network, x = nn.Sequential(nn.Linear(4096, 4096)), torch.randn(3, 4096)
    apply_cannon(network, x, chip="siam-32nm")
    module = network[0]
    keep = torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    module.cut(keep)
    assert module.choice.sparse
    assert "sparse: density 0.2" in str(module)
    module.double()
    assert not module.choice.sparse
    module.float()
    assert module.choice.sparse
    monkeypatch.undo()
    results = []
    for sparse in (True, False):
        module.choice = Choice(sparse, "to compare")
        y = module(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), (module.weight, module.bias))))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not results[0][1][~module.mask].any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_sparse_convolution_keeps_its_inputs_layout(layout: torch.memory_format) -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1))
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=layout)
    expected = model(x)
    module = apply_cannon(model, x, chip="demo-32nm", group_size=4).modules["0"]
    module.choice = Choice(True, "to test it")
    module.pattern.lists(x.device)
    found = model(x)
    assert found.stride() == expected.stride()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


class Reader(nn.Module):
    """Reads the weight of a layer whose forward never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Conv1D(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.inner.bias, x, self.inner.weight)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("read", [False, True])
def test_a_transposed_weight_is_cut_where_its_matrix_is(read: bool, sparse: bool) -> None:
    model = nn.Sequential(Reader() if read else Conv1D(16, 16))
    name, x = ("0.inner" if read else "0"), torch.randn(5, 16)
    module = apply_cannon(model, x, chip="demo-32nm", group_size=4).modules[name]
    keep = torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    module.cut(keep)
    if sparse and not read:
        module.choice = Choice(True, "to test it")
        module.pattern.lists(x.device)
    mask = module.pattern.spread(keep).t()  # [in, out]
    assert not module.weight[~mask].any()
    assert module.weight[mask].all()
    y = model(x)
    torch.testing.assert_close(y, x @ module.weight + module.bias, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(y.square().sum(), module.weight)
    torch.testing.assert_close(gradient, (x.t() @ (2 * y)) * mask, rtol=1e-4, atol=1e-4)


def deep(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def from_meta(model: nn.Module) -> nn.Module:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model = copy.deepcopy(model).to("meta").to_empty(device="cpu")
    model.load_state_dict(state)
    model[0].inner.cut(model[0].inner.pattern.keep)  # masks are not in the state
    return model


@pytest.mark.parametrize("copied", [deep, pickled, from_meta])
def test_copies_mask_the_gradient_of_a_weight_that_others_read(
    copied: Callable[[nn.Module], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_conv1d(monkeypatch)
    model, x = nn.Sequential(Reader(), nn.Linear(16, 4)), torch.randn(5, 16)
    module = apply_cannon(model, x, chip="demo-32nm", group_size=4).modules["0.inner"]
    module.cut(torch.rand(module.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    twin = copied(model)
    assert type(twin[0].inner) is type(module)
    for network in (model, twin):
        network(x).square().sum().backward()
    gradient = twin[0].inner.weight.grad
    assert not gradient[~module.mask.t()].any()
    assert torch.equal(gradient, module.weight.grad)
    assert torch.equal(twin(x), model(x))


def test_a_copy_masks_again_once_its_weight_was_written(network: nn.Module, image: Tensor) -> None:
    module = apply_cannon(network, image, **CHIP).modules["hidden"]
    with torch.no_grad():
        module.cut(torch.zeros(module.pattern.shape, dtype=torch.bool))
        twin = copy.deepcopy(module)
        while twin.weight._version < module.weight._version:
            twin.weight.add_(1)
        assert not twin.dense_weight().any()


@pytest.mark.parametrize("model", [nn.Linear(16, 12), nn.Conv2d(16, 12, 1)])
def test_a_model_that_is_one_layer(model: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(2, 16) if isinstance(model, nn.Linear) else torch.randn(2, 16, 3, 3)
    fresh, expected, parameters = copy.deepcopy(model), model(x), list(model.parameters())
    applied = apply_cannon(model, x, chip="demo-32nm", group_size=4)
    assert applied.modules[""] is model
    assert torch.equal(model(x), expected)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    model.cut(torch.rand(model.pattern.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    for packed in (False, True):
        folder = tmp_path / str(packed)
        applied.save(folder, packed=packed)
        twin = copy.deepcopy(fresh)
        load(folder, twin)
        assert torch.equal(twin(x), model(x))
