"""Microbenchmarks of the block-sparse ops: cells, their results checked before they are timed, rows of a table.

A cell is one layer of a real network with one block shape, density, dtype and storage. It is timed against torch's
dense op (and torch's BSR where that exists) on the same device, in two ways, each way in turn, so that both meet the
same noise: back to back, batches of calls of one method, which find their weight in the caches; and alternating, single
calls, which find there what the other method left.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cannon_fx.kernels.functional import block_sparse_conv2d, block_sparse_linear
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight
from cannon_fx.kernels.window import Window

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""‖error‖ / ‖reference‖, above which a result is wrong"""


class WrongResult(ArithmeticError):
    """A kernel's numbers are not those of the reference; nothing is timed."""


@dataclass(frozen=True)
class Shape:
    """A layer. `side` is that of its square input images, 0 for a linear layer."""

    name: str
    in_channels: int
    out_channels: int
    side: int = 0
    taps: int = 1
    stride: int = 1

    def __str__(self) -> str:
        size = f" {self.taps}x{self.taps}/{self.stride} @{self.side}" if self.side else ""
        return f"{self.name} {self.in_channels}->{self.out_channels}{size}"

    @property
    def window(self) -> Window:
        pad = self.taps // 2
        return Window((self.taps, self.taps), (self.stride, self.stride), (pad, pad))


@dataclass(frozen=True)
class Cell:
    """What one row or two of the table are about. `batch` is rows of a linear layer, images of a convolution."""

    shape: Shape
    batch: int
    density: float = 0.25
    block: tuple[int, int] = (64, 64)
    dtype: torch.dtype = torch.float32
    storage: str = "dense"


SQUARE = Shape("square", 4096, 4096)
CONVS = (
    Shape("ResNet-50", 64, 64, 56, 3),
    Shape("ResNet-50", 128, 128, 28, 3),
    Shape("ResNet-50", 256, 256, 14, 3),
    Shape("ResNet-50", 512, 512, 7, 3),
)
OTHERS = (
    (Shape("ViT-B MLP", 768, 3072), 197),
    (Shape("ViT-B MLP", 3072, 768), 197),
    (Shape("Llama-2-7B MLP", 4096, 11008), 128),
    (Shape("ResNet-50", 256, 1024, 14, 1), 8),
    (Shape("ResNet-50", 128, 128, 56, 3, 2), 8),
    (Shape("VGG-16", 256, 256, 56, 3), 1),
    (Shape("VGG-16", 512, 512, 28, 3), 1),
)
DENSITIES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
BLOCKS = ((32, 32), (64, 16), (64, 64), (128, 64), (128, 128))


def quick_cells() -> Iterator[Cell]:
    """A dozen cells that say most, in about a minute on two cores."""
    small = Shape("square", 1024, 1024)
    yield from (Cell(small, batch) for batch in (16, 128))
    yield from (Cell(small, 128, density) for density in (0.1, 0.5, 0.9))
    yield from (Cell(small, 128, block=(64, 16)), Cell(small, 128, storage="packed"))
    yield Cell(small, 128, dtype=torch.bfloat16)
    yield from (Cell(CONVS[1], 8), Cell(CONVS[2], 8), Cell(CONVS[2], 8, block=(64, 16)))


def all_cells() -> Iterator[Cell]:
    """What the project promises, then shapes of real networks, then densities by block shapes."""
    yield from (Cell(SQUARE, batch) for batch in (1, 16, 128, 1024))
    # 64 channels are one block of 64x64: a quarter of them is a matter of smaller groups.
    yield from (Cell(shape, 8, block=(64, min(64, shape.in_channels // 4))) for shape in CONVS)
    yield from (Cell(SQUARE, batch, dtype=torch.bfloat16) for batch in (16, 128, 1024))
    yield from (Cell(SQUARE, batch, storage="packed") for batch in (16, 128, 1024))
    yield from (Cell(SQUARE, batch, dtype=torch.bfloat16, storage="packed") for batch in (16, 128, 1024))
    yield from (Cell(shape, batch, block=block) for shape, batch in OTHERS for block in ((64, 64), (64, 16)))
    yield from (Cell(Shape("square", 2048, 2048), 256, density, block) for block in BLOCKS for density in DENSITIES)
    yield from (Cell(CONVS[2], 8, density, block) for block in BLOCKS for density in DENSITIES)


def random_pattern(
    out_channels: int, in_channels: int, block: tuple[int, int], density: float, random: torch.Generator
) -> BlockPattern:
    """As many blocks as the density asks for, rounded, at least one; anywhere."""
    grid = -(-out_channels // block[0]), -(-in_channels // block[1])
    blocks = grid[0] * grid[1]
    keep = torch.zeros(blocks, dtype=torch.bool, device=random.device)
    keep[torch.randperm(blocks, device=random.device, generator=random)[: max(1, round(density * blocks))]] = True
    return BlockPattern(keep.view(grid), out_channels, in_channels, *block)


@dataclass(frozen=True)
class Case:
    """The tensors of a cell, random, on a device."""

    cell: Cell
    pattern: BlockPattern
    x: Tensor
    weight: Tensor
    grad: Tensor

    @classmethod
    def of(cls, cell: Cell, device: torch.device) -> Case:
        shape, random = cell.shape, torch.Generator(device).manual_seed(0)

        def tensor(*size: int) -> Tensor:
            made = torch.randn(*size, device=device, generator=random).to(cell.dtype)
            return made.contiguous(memory_format=torch.channels_last) if len(size) == 4 else made

        pattern = random_pattern(shape.out_channels, shape.in_channels, cell.block, cell.density, random)
        taps = shape.window.taps if shape.side else ()
        size = shape.window.out_size(shape.side, shape.side) if shape.side else ()
        image = (shape.side, shape.side) if shape.side else ()
        return cls(
            cell,
            pattern,
            x=tensor(cell.batch, shape.in_channels, *image),
            weight=tensor(shape.out_channels, shape.in_channels, *taps) / shape.in_channels**0.5,
            grad=tensor(cell.batch, shape.out_channels, *size),
        )

    @property
    def flops(self) -> int:
        """Of the kept blocks in the forward pass; each of the two gradients has as many."""
        kept = int(self.pattern.spread(self.pattern.keep).sum())
        taps = self.weight[0, 0].numel()
        return 2 * kept * taps * (self.grad.numel() // self.pattern.out_channels)

    def dense(self, x: Tensor, weight: Tensor) -> Tensor:
        window = self.cell.shape.window
        if not self.cell.shape.side:
            return F.linear(x, weight)
        return F.conv2d(x, weight, None, window.stride, window.padding)

    def sparse(self, x: Tensor, weight: Tensor) -> Tensor:
        window, packed = self.cell.shape.window, self.cell.storage == "packed"
        if not self.cell.shape.side:
            return block_sparse_linear(x, weight, self.pattern, packed=packed)
        return block_sparse_conv2d(x, weight, self.pattern, None, window.stride, window.padding, packed=packed)

    def check(self, weight: Tensor) -> dict[str, float]:
        """Relative error by pass, against the dense op in fp64 on the CPU. Raises WrongResult."""
        x, dense = (t.detach().cpu().double().requires_grad_() for t in (self.x, self.weight))
        mask = self.pattern.spread(self.pattern.keep).cpu()
        y = self.dense(x, masked_weight(dense, mask))
        expected = [y, *torch.autograd.grad(y, (x, dense), self.grad.cpu().double())]
        if self.cell.storage == "packed":
            kept = BlockPattern(self.pattern.keep.cpu(), *self.pattern.channels, *self.cell.block)
            expected[2] = pack(expected[2], kept)
        found = both_ways(self.sparse, self.x, weight, self.grad)()
        with torch.no_grad():
            errors = [float((f.cpu().double() - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True)]
        if not max(errors) < TOLERANCE[self.cell.dtype]:
            raise WrongResult(f"{self.cell}: relative errors of y, grad_x and grad_weight are {errors}")
        return {"forward": errors[0], "forward+backward": max(errors)}


def forward(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Callable[[], Any]:
    def run() -> Tensor:
        with torch.no_grad():
            return op(x, weight)

    return run


def both_ways(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, grad: Tensor) -> Callable[[], Any]:
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        y = op(x, weight)
        return y, *torch.autograd.grad(y, (x, weight), grad)

    return run


BATCH_S = 0.05
"""Calls of one method back to back; time waited for a core is known to some ms in a second."""


def medians_ms(works: list[Callable[[], Any]], device: torch.device, seconds: float, batch_s: float) -> list[float]:
    """Median milliseconds per call of each, over batches in turn for `seconds` each, at least five after a warm-up.

    A batch is as many calls as fill `batch_s`; 0: one. Batches in which this process's threads waited for a core more
    than 2 % of the time do not count, where there are five others within ten times the time.
    """

    def spent_ms(work: Callable[[], Any], calls: int) -> tuple[float, bool]:
        waited, start = waited_s(), time.perf_counter()
        for _ in range(calls):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent = time.perf_counter() - start
        return 1e3 * spent / calls, waited_s() - waited < 0.02 * spent * torch.get_num_threads()

    for work in works:
        spent_ms(work, 1)
    counts = [max(1, round(1e3 * batch_s / spent_ms(work, 1)[0])) for work in works]
    every: list[list[float]] = [[] for _ in works]
    clean: list[list[float]] = [[] for _ in works]
    start, budget = time.perf_counter(), seconds * len(works)
    while True:
        for work, calls, all_times, clean_times in zip(works, counts, every, clean, strict=True):
            spent, undisturbed = spent_ms(work, calls)
            all_times.append(spent)
            if undisturbed:
                clean_times.append(spent)
        elapsed = time.perf_counter() - start
        enough = min(map(len, clean)) >= 5
        if (enough and elapsed > budget) or (elapsed > 10 * budget and len(every[0]) >= 5):
            return [statistics.median(times) for times in (clean if enough else every)]


def waited_s() -> float:
    """Seconds that this process's threads were ready and had no core. 0 where the system does not say (not Linux)."""
    files = Path("/proc/self/task").glob("*/schedstat")
    return 1e-9 * sum(int(file.read_text().split()[1]) for file in files)


def measure(cell: Cell, device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of a cell. Raises WrongResult before anything is timed."""
    case = Case.of(cell, device)
    weight = pack(case.weight, case.pattern) if cell.storage == "packed" else case.weight
    errors = case.check(weight)
    dense_name = (
        ("oneDNN channels_last" if cell.shape.side else "MKL/oneDNN") if device.type == "cpu" else "torch dense"
    )
    pairs = [
        ("forward", dense_name, forward(case.dense, case.x, case.weight), forward(case.sparse, case.x, weight)),
        (
            "forward+backward",
            dense_name,
            both_ways(case.dense, case.x, case.weight, case.grad),
            both_ways(case.sparse, case.x, weight, case.grad),
        ),
    ]
    if not cell.shape.side and cell.block[0] == cell.block[1] and cell.dtype == torch.float32:
        mask = case.pattern.spread(case.pattern.keep)
        bsr = masked_weight(case.weight, mask).to_sparse_bsr(cell.block)
        # F.linear takes it too, five times slower on a CPU.
        product = forward(lambda x, w: (w @ x.T).T, case.x, bsr)
        pairs.append(("forward", "torch BSR", product, pairs[0][3]))
    for name, baseline, theirs, ours in pairs:
        baseline_ms, ours_ms = medians_ms([theirs, ours], device, seconds, BATCH_S)
        alternating_ms = medians_ms([theirs, ours], device, seconds, 0)
        yield {
            "op": "conv2d" if cell.shape.side else "linear",
            "shape": str(cell.shape),
            "batch": cell.batch,
            "dtype": str(cell.dtype).removeprefix("torch."),
            "density": round(case.pattern.density, 4),
            "block": f"{cell.block[0]}x{cell.block[1]}",
            "storage": cell.storage,
            "pass": name,
            "baseline": baseline,
            "baseline_ms": baseline_ms,
            "ours_ms": ours_ms,
            "speedup": baseline_ms / ours_ms,
            "gflops": (1 if name == "forward" else 3) * case.flops / ours_ms / 1e6,
            "alternating_baseline_ms": alternating_ms[0],
            "alternating_ours_ms": alternating_ms[1],
            "alternating_speedup": alternating_ms[0] / alternating_ms[1],
            "relative_error": errors[name],
            "device": device_name(device),
        }


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    return f"cpu {platform.machine()} {capability}, {torch.get_num_threads()} threads"
