"""Is a network with cuts ever slower than the dense one that it was? Whole networks, random blocks or channels cut.

python benchmarks/network_speed.py [--networks "mlp, batch 1" …] [--densities 0.1 …] [--cuts channels] [--seconds 1]

Every layer chooses dense, narrow or sparse for itself. Before a network is timed, its output and gradients are held
against its dense twin in fp64, with zeros where it is cut. Both are called in turn, so that they meet the same noise.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from cannon_fx import apply_cannon
from cannon_fx.atomic import atomic_write_text
from cannon_fx.kernel_bench import device_name, medians_ms
from cannon_fx.networks import digits_net, resnet18

TOLERANCE = 1e-4
"""‖error‖ / ‖reference‖ of outputs and gradients after all layers, fp32"""
SLOWEST = 0.97
"""dense time / ours, which no network may fall below"""


def vgg() -> nn.Module:
    """VGG-11's convolutions for 32x32 images."""
    layers: list[nn.Module] = []
    channels = 3
    for wide, pool in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0), (512, 1)):
        layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * pool
        channels = wide
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def mlp() -> nn.Module:
    """Smooth: the gradient of a ReLU jumps where rounding takes one of a million inputs over zero."""
    sizes = 1024, 4096, 4096, 1024
    layers = [part for i in range(3) for part in (nn.Linear(*sizes[i : i + 2]), nn.GELU())]
    return nn.Sequential(*layers[:-1])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp, batch 1": (mlp, (1, 1024)),
    "mlp, batch 128": (mlp, (128, 1024)),
    "vgg, batch 16": (vgg, (16, 3, 32, 32)),
    "resnet18, batch 1": (resnet18, (1, 3, 224, 224)),
    "resnet18, batch 4": (resnet18, (4, 3, 224, 224)),
    "digits, batch 32": (digits_net, (32, 1, 8, 8)),
}


@dataclass(frozen=True)
class Options:
    networks: tuple[str, ...] = tuple(NETWORKS)
    densities: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    cuts: tuple[Literal["blocks", "channels"], ...] = ("blocks", "channels")
    group_size: int = 16
    seconds: float = 1.0
    """of timing for each number"""
    out: Path = Path(__file__).parent / "results" / "network_speed.json"


def cut_at_random(plan: Any, density: float, cut: str) -> None:
    """Blocks, or groups of input channels with all that reads them."""
    generator = torch.Generator().manual_seed(0)
    for module in plan.modules.values():
        blocks, groups = module.pattern.shape
        keep = torch.zeros(blocks * groups if cut == "blocks" else groups, dtype=torch.bool)
        keep[torch.randperm(len(keep), generator=generator)[: max(1, round(density * len(keep)))]] = True
        module.cut(keep.view(-1, groups).expand(blocks, groups))


def step(model: nn.Module, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Output and all parameters' gradients."""
    y = model(x)
    return [y, *torch.autograd.grad(y, list(model.parameters()), upstream)]


def check(sparse: nn.Module, dense: nn.Module, plan: Any, x: Tensor, upstream: Tensor) -> float:
    """The larger relative error, of output or of all gradients together. Raises ArithmeticError beyond TOLERANCE."""
    exact = copy.deepcopy(dense).double()
    exact.load_state_dict(sparse.state_dict())
    found = [t.detach() for t in step(sparse, x, upstream)]
    expected = [t.detach() for t in step(exact, x.double(), upstream.double())]
    kept = {f"{name}.weight": module.mask for name, module in plan.modules.items()}
    for index, (name, parameter) in enumerate(sparse.named_parameters(), 1):
        if name in kept:
            expected[index] = expected[index] * kept[name].view(*kept[name].shape, *(1,) * (parameter.dim() - 2))
    pairs = (found[:1], expected[:1]), (found[1:], expected[1:])
    errors = [
        float(
            torch.cat([(f.double() - e).flatten() for f, e in zip(ours, right, strict=True)]).norm()
            / torch.cat([e.flatten() for e in right]).norm()
        )
        for ours, right in pairs
    ]
    if not max(errors) < TOLERANCE:
        raise ArithmeticError(f"wrong result: relative errors of output and gradients are {errors}")
    return max(errors)


def measure(name: str, density: float, cut: str, options: Options) -> Iterator[dict[str, Any]]:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    dense = make().to(memory_format=torch.channels_last).eval()
    x = torch.randn(shape)
    x = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    sparse = copy.deepcopy(dense)
    plan = apply_cannon(sparse, x[:1], chip="siam-32nm", group_size=options.group_size)
    cut_at_random(plan, density, cut)
    with torch.no_grad():
        upstream = torch.randn_like(dense(x))
    error = check(sparse, dense, plan, x, upstream)
    for module in plan.modules.values():
        module.zero_cut_()  # as after a step of training
    for timed in ("forward", "forward+backward"):

        def call(model: nn.Module, timed: str = timed) -> Any:
            if timed == "forward":
                with torch.no_grad():
                    return model(x)
            return step(model, x, upstream)

        dense_ms, ours_ms = medians_ms(
            [lambda: call(dense), lambda: call(sparse)], torch.device("cpu"), options.seconds, 0
        )
        yield {
            "network": name,
            "density": density,
            "cut": cut,
            "pass": timed,
            "dense_ms": dense_ms,
            "ours_ms": ours_ms,
            "speedup": dense_ms / ours_ms,
            "sparse_layers": sum(module.choice.sparse for module in plan.modules.values()),
            "narrow_layers": sum(module.choice.narrow for module in plan.modules.values()),
            "layers": len(plan.modules),
            "relative_error": error,
        }


def main(options: Options) -> None:
    rows = []
    for name, cut, density in product(options.networks, options.cuts, options.densities):
        for row in measure(name, density, cut, options):
            rows.append(row)
            print(
                f"{name:18} {cut:8} {density:5.2f} {row['pass']:16} {row['dense_ms']:9.2f} ms, "
                f"ours {row['ours_ms']:9.2f} ms {row['speedup']:5.2f}x  "
                f"{row['sparse_layers']:2} sparse, {row['narrow_layers']:2} narrow of {row['layers']}"
                f"{'' if row['speedup'] >= SLOWEST else '  SLOWER'}",
                flush=True,
            )
    result = {"torch": torch.__version__, "device": device_name(torch.device("cpu")), "rows": rows}
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
