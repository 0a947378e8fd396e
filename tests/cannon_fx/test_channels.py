"""Which channels are needed: against gradients, and against networks where the others hold noise."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cannon_fx import plan
from cannon_fx.channels import pairs_of
from cannon_fx.counting import Counter
from cannon_fx.layer import Layer
from cannon_fx.networks import digits_net
from cannon_fx.networks_cifar import densenet40, mobilenet_v2, resnet20, vgg16_quarter, vit_small
from cannon_fx.plans import Plan

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "digits": (digits_net, (1, 1, 8, 8), "demo-32nm"),
    "vgg": (vgg16_quarter, (1, 3, 32, 32), "siam-32nm"),
    "resnet": (resnet20, (1, 3, 32, 32), "siam-32nm"),
    "densenet": (densenet40, (1, 3, 32, 32), "siam-32nm"),
    "mobilenet": (mobilenet_v2, (1, 3, 32, 32), "siam-32nm"),
    "vit": (vit_small, (1, 3, 32, 32), "siam-32nm"),
}


def weight_of(network: nn.Module, layer: Layer) -> Tensor:
    weight = network.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    return weight


def thinned(network: nn.Module, found: Plan, seed: int, share: float) -> nn.Module:
    """Input channels of the layers set to zero, at random: others then need not be made."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in found.layers:
            weight = weight_of(network, layer)
            weight[:, torch.rand(weight.shape[1], generator=generator) < share] = 0
    return network


def needed(counter: Counter, network: nn.Module) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Per layer name, which of its output channels."""
    pairs = counter.pairs(network)
    found = counter.channels.needed(pairs).channels
    return {layer.name: found[counter.channels.of_layer(layer)] for layer in counter.whole.layers}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_nobody_notices_noise_where_no_channel_is_needed(name: str, share: float) -> None:
    make, shape, chip = NETWORKS[name]
    torch.manual_seed(0)
    network, image = make().eval(), torch.randn(shape)
    found = plan(network, image, chip=chip)
    counter = Counter.of(found)
    thinned(network, found, 1, share)
    dead = {n: torch.from_numpy(~mask) for n, mask in needed(counter, network).items()}
    noisy = copy.deepcopy(network)
    with torch.no_grad():
        for layer in found.layers:
            weight = weight_of(noisy, layer)
            weight[dead[layer.name]] = torch.randn_like(weight[dead[layer.name]])
        assert torch.equal(network(image), noisy(image))
    if name != "vit":  # whose layer norms need all channels of the stream
        assert sum(int(mask.sum()) for mask in dead.values()) > 0


class Between(nn.Module):
    """Linear layers of one tile, and between them something that mixes channels, or computes with two values."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.other, self.b, self.between = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4), between

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.between(self.a(x), self.other(x)))
        return found


def grouped(x: Tensor, _: Tensor) -> Tensor:
    return F.group_norm(x[:, :, None], 2)[:, :, 0]


def partly(x: Tensor, y: Tensor) -> Tensor:
    x[:, :3].mul_(y[:, 5:])
    return x


MIXED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "layer norm": lambda x, _: F.layer_norm(x, (8,)),
    "group norm": grouped,
    "softmax": lambda x, _: x.softmax(-1),
    "cumsum": lambda x, _: x.cumsum(-1),
    "a computed scale": lambda x, y: F.layer_norm(x, (8,), y[0], y[0]),
    "a computed bias": lambda x, y: F.linear(x, torch.eye(8), y[0]),
    "filled": lambda x, y: x + torch.zeros(1, 8).fill_(y[0, 0]),
    "in place": lambda x, y: x.add_(y),
    "a part in place": partly,
    "pieces": lambda x, y: torch.cat([y[:, 4:], x[:, :4]], -1),
    "a product": lambda x, y: x * y,
}


@pytest.mark.parametrize("name", MIXED)
def test_nobody_notices_noise_whatever_is_between(name: str) -> None:
    torch.manual_seed(0)
    network, x = Between(MIXED[name]).eval(), torch.randn(1, 8)
    found = plan(network, x, chip="demo-32nm", group_size=1)
    with torch.no_grad():
        network.b.weight[:, [0, 1, 2, 4, 6]] = 0
        before, counter = network(x), Counter.of(found)
        for layer_name, mask in needed(counter, network).items():
            weight = network.get_submodule(layer_name).weight
            weight[torch.from_numpy(~mask)] = torch.randn(int((~mask).sum()), 8)
        assert torch.equal(network(x), before)


def test_what_is_written_into_a_buffer_is_needed() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 4)
            self.register_buffer("state", torch.zeros(1, 8))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.b(self.state)
            self.state.copy_(self.a(x))
            return out

    network = Remembers()
    counter = Counter.of(plan(network, torch.randn(1, 8), chip="demo-32nm"))
    assert needed(counter, network)["a"].all()


@pytest.mark.parametrize("filters", [0.0, 0.2])
@pytest.mark.parametrize("name", ["digits", "vgg", "resnet", "densenet", "mobilenet"])
def test_exactly_those_that_a_gradient_reaches(name: str, filters: float) -> None:
    """With weights, inputs and biases all positive, a gradient passes every ReLU and cancels nowhere.

    Mapped anew, filters without weights are constants, which nobody has to make; what is added to them goes on.
    """
    make, shape, chip = NETWORKS[name]
    torch.manual_seed(0)
    network, image = make().eval(), torch.rand(shape) + 0.1
    found = plan(network, image, chip=chip)
    thinned(network, found, 2, 0.6)
    with torch.no_grad():
        for layer in found.layers[:-1]:
            weight = weight_of(network, layer)
            weight[torch.rand(len(weight)) < filters] = 0
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.copy_(
                    (module.weight != 0) * (torch.rand_like(module.weight) + 0.5) / module.weight[0].numel()
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
    reached: dict[str, Tensor] = {}
    for layer in found.layers:
        keep_gradient = _remember(reached, layer.name)
        network.get_submodule(layer.name).register_forward_hook(keep_gradient)
    network(image).sum().backward()
    counter = Counter.of(found).compact_for(network) if filters else Counter.of(found)
    for layer in found.layers:
        gradient = reached[layer.name]
        there = gradient.abs().sum([d for d in range(gradient.dim()) if d != 1]) > 0
        made = weight_of(network, layer).flatten(1).any(1)
        assert needed(counter, network)[layer.name].tolist() == (there & made).tolist(), layer.name


def _remember(reached: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        output.register_hook(lambda gradient: reached.__setitem__(name, gradient))

    return hook


def test_all_are_needed_as_long_as_nothing_is_cut() -> None:
    for make, shape, chip in NETWORKS.values():
        counter = Counter.of(plan(make(), torch.zeros(shape), chip=chip))
        full = pairs_of(counter.whole.layers, counter.whole.full())
        assert counter.channels.needed(full).channels.all()
