"""What does torch.compile(model, backend="cannon") cost, and win, on this CPU?

Two networks at batch 32, in inference: VGG-16 and a ViT whose MLPs hold four fifths of the work. Each with nothing
sparse, where "cannon" must be as fast as "inductor"; then with a quarter of the blocks of 64 x 64 kept, found by the
backend in the weights as they are, against inductor's dense run of the same network.

python benchmarks/backend.py [--networks vgg16] [--states dense] [--seconds 8] [--out benchmarks/results/backend.json]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from cannon_fx.atomic import atomic_write_text

BLOCK, DENSITY, BATCH = 64, 0.25, 32


def vgg16(classes: int = 1000) -> nn.Module:
    """VGG-16 (Simonyan and Zisserman, 2015), without dropout."""
    layers: list[nn.Module] = []
    channels = 3
    for width, many in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(many):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096)]
    return nn.Sequential(*layers, *head, nn.ReLU(), nn.Linear(4096, classes))


class ViTBlock(nn.Module):
    """Attention and an MLP eight times as wide as the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(8 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """A vision transformer over patches of 16 x 16."""

    def __init__(self, width: int = 768, depth: int = 4, heads: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.blocks = nn.Sequential(*(ViTBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {"vgg16": (vgg16, 112), "vit": (ViT, 128)}
"""name -> network, side of the image"""


@torch.no_grad()
def cut(model: nn.Module) -> None:
    """Zeros in all but a quarter of the blocks of every layer that has more than four."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.shape[1] % BLOCK == 0:
            weight = module.weight
            keep = torch.rand(-(-weight.shape[0] // BLOCK), weight.shape[1] // BLOCK, generator=generator) < DENSITY
            mask = keep.repeat_interleave(BLOCK, 0)[: weight.shape[0]].repeat_interleave(BLOCK, 1)
            weight *= mask.view(*mask.shape, *(1,) * (weight.dim() - 2))


@dataclass(frozen=True)
class Options:
    networks: tuple[Literal["vgg16", "vit"], ...] = ("vgg16", "vit")
    states: tuple[Literal["dense", "sparse"], ...] = ("dense", "sparse")
    seconds: float = 8.0
    """of timing for each row, shared by the two backends turn by turn"""
    out: Path = Path(__file__).parent / "results" / "backend.json"
    """one row for each network and state; others that it holds stay"""


def measure(network: str, state: str, seconds: float) -> dict[str, Any]:
    """Median run times, milliseconds, and the largest difference of the outputs relative to the largest output."""
    make, side = NETWORKS[network]
    torch.manual_seed(0)
    model, image = make().eval(), torch.randn(BATCH, 3, side, side)
    if state == "sparse":
        cut(model)
    compiled = {name: torch.compile(model, backend=name) for name in ("inductor", "cannon")}
    times: dict[str, list[float]] = {name: [] for name in compiled}
    with torch.no_grad():
        outputs = [run(image) for run in compiled.values()]
        for run in compiled.values():
            run(image)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times["cannon"]) < 3:
            for name, run in compiled.items():
                start = time.perf_counter()
                run(image)
                times[name].append(1e3 * (time.perf_counter() - start))
    inductor, cannon = (median(times[name]) for name in compiled)
    return {
        "network": network,
        "state": state,
        "batch": BATCH,
        "image": side,
        "inductor_ms": inductor,
        "cannon_ms": cannon,
        "speedup": inductor / cannon,
        "difference": float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max()),
        "runs": len(times["cannon"]),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main(options: Options) -> None:
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    options.out.parent.mkdir(exist_ok=True)
    for network, state in product(options.networks, options.states):
        torch._dynamo.reset()
        row = measure(network, state, options.seconds)
        rows = [*(r for r in rows if (r["network"], r["state"]) != (network, state)), row]
        atomic_write_text(options.out, json.dumps(rows, indent=1) + "\n")
        print(
            f"{network:6} {state:7} inductor {row['inductor_ms']:8.1f} ms, cannon {row['cannon_ms']:8.1f} ms: "
            f"{row['speedup']:.2f}x, outputs differ by {row['difference']:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
