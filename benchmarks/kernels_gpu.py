"""How fast are block-sparse layers on this GPU? Against cuBLAS, cuDNN (channels_last), torch's BSR and stanford-stk.

python benchmarks/kernels_gpu.py [--minutes 8.5] [--out benchmarks/results/kernels_gpu.json] [--keep-configurations]

Cells run in the order of their weight until the time is up; those left out are named. An untuned device is tuned as
the cells need it. Times are medians of CUDA graph replays, inputs warm in L2 where they fit. A cell is timed only after
its results, forward and both gradients, agree with the dense op on a masked weight. Compares with STK where installed.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import triton
import tyro
from kernels_report import break_even, draw, show
from torch import Tensor
from triton.testing import do_bench_cudagraph

from cannon_fx.atomic import atomic_write_text
from cannon_fx.kernel_bench import TOLERANCE, random_pattern
from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.reference import masked_weight
from cannon_fx.kernels.triton import ops, tune
from cannon_fx.kernels.window import Window

PEAK_TFLOPS = {"NVIDIA H100 80GB HBM3": 989.4, "NVIDIA H200": 989.4, "NVIDIA A100-SXM4-80GB": 311.9}
"""dense bf16, from the makers' data sheets"""
DENSITIES = (0.25, 0.1, 0.5, 0.75, 1.0, 0.05)
Work = Callable[[], Any]


@dataclass(frozen=True)
class Options:
    minutes: float = 8.5
    out: Path = Path(__file__).parent / "results" / "kernels_gpu.json"
    keep_configurations: bool = False
    """Copy what was tuned into the package (kernels/triton/tuned)."""


@dataclass(frozen=True)
class Layer:
    """`batch` is rows of a linear layer, images of a convolution."""

    name: str
    batch: int
    out_channels: int
    in_channels: int
    window: Window | None = None
    side: int = 1
    """of the square images"""

    @property
    def shape(self) -> str:
        channels = f"{self.in_channels}->{self.out_channels}"
        if self.window is None:
            return f"{self.name}: {channels}"
        return (
            f"{self.name}: {channels} {self.window.taps[0]}x{self.window.taps[1]}/{self.window.stride[0]} @{self.side}"
        )

    @property
    def gflop(self) -> float:
        """Of the dense forward pass."""
        rows, taps = self.batch, 1
        if self.window is not None:
            height, width = self.window.out_size(self.side, self.side)
            rows, taps = rows * height * width, self.window.taps[0] * self.window.taps[1]
        return 2e-9 * rows * taps * self.out_channels * self.in_channels


@dataclass(frozen=True)
class Cell:
    layer: Layer
    block: tuple[int, int]
    density: float
    dtype: torch.dtype = torch.bfloat16
    storage: str = "dense"


def square(side: int, channels: int, batch: int = 64, stride: int = 1, name: str = "ResNet-50") -> Layer:
    return Layer(name, batch, channels, channels, Window((3, 3), (stride, stride), (1, 1)), side)


CUBE = Layer("4096 cubed", 4096, 4096, 4096)
LINEAR = (
    Layer("ViT-B MLP", 64 * 197, 3072, 768),
    Layer("Llama-2-7B MLP", 2048, 11008, 4096),
    Layer("Llama-2-7B MLP", 2048, 4096, 11008),
    Layer("Llama-2-7B MLP, 16 tokens", 16, 11008, 4096),
)
CONV = (
    square(28, 128), square(14, 256), square(7, 512), square(56, 128, stride=2), square(56, 64),
    square(56, 256, 32, name="VGG-16"), square(28, 512, 32, name="VGG-16"),
    Layer("ResNet-50", 64, 1024, 256, Window(), 14),
)  # fmt: skip
BLOCKS = ((128, 64), (64, 16), (64, 64), (128, 128), (32, 32))


def cells() -> Iterator[Cell]:
    """First what the project promises, then break-even curves, then everything else."""
    yield from (Cell(CUBE, block, 0.25) for block in ((128, 64), (64, 16)))
    yield from (Cell(layer, (128, 64), 0.25) for layer in CONV[:3])
    yield from (Cell(CUBE, block, density) for block in BLOCKS[:2] for density in DENSITIES[1:])
    yield from (Cell(layer, (128, 64), 0.25) for layer in LINEAR + CONV[3:])
    yield from (Cell(CONV[1], (128, 64), density) for density in DENSITIES[1:])
    yield from (Cell(layer, (64, 16), 0.25) for layer in LINEAR + CONV)
    yield from (Cell(CUBE, block, density) for block in BLOCKS[2:] for density in DENSITIES)
    yield from (Cell(CUBE, (128, 64), 0.25, torch.bfloat16, "packed"), Cell(CONV[1], (128, 64), 0.25, storage="packed"))
    yield from (Cell(CUBE, (128, 64), 0.25, dtype) for dtype in (torch.float16, torch.float32))
    rest = itertools.product(LINEAR + CONV, BLOCKS, DENSITIES)
    yield from (Cell(layer, block, density) for layer, block, density in rest)


@dataclass(frozen=True)
class Case:
    """The tensors of a cell."""

    cell: Cell
    pattern: BlockPattern
    x: Tensor
    weight: Tensor
    grad: Tensor

    @classmethod
    def of(cls, cell: Cell, device: torch.device) -> Case:
        layer, window = cell.layer, cell.layer.window
        generator = torch.Generator(device).manual_seed(0)

        def random(*shape: int) -> Tensor:
            made = torch.randn(*shape, device=device, generator=generator).to(cell.dtype)
            return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made

        pattern = random_pattern(layer.out_channels, layer.in_channels, cell.block, cell.density, generator)
        image = (layer.side, layer.side) if window else ()
        size = window.out_size(layer.side, layer.side) if window else ()
        taps = window.taps if window else ()
        x = random(layer.batch, layer.in_channels, *image)
        weight = random(layer.out_channels, layer.in_channels, *taps) / layer.in_channels**0.5
        return cls(cell, pattern, x, weight, random(layer.batch, layer.out_channels, *size))

    def ours(self) -> dict[str, Work]:
        """Forward, grad-input, grad-weight."""
        layer, lists = self.cell.layer, self.pattern.lists(self.x.device)
        packed = self.cell.storage == "packed"
        weight = pack(self.weight, self.pattern) if packed else self.weight
        if packed and layer.window:
            # The kernels' own order, as deployed.
            weight = weight.movedim(2, -1).contiguous().movedim(-1, 2)
        sizes = (layer.out_channels, layer.in_channels, *self.cell.block)
        rows = lists.row_start, lists.row_group, lists.block_of
        columns = lists.col_start, lists.col_block, lists.col_slot
        x, grad, window = self.x, self.grad, layer.window
        if window is None:
            return {
                "forward": lambda: ops.linear(x, weight, None, *rows, sizes, "none"),
                "grad_input": lambda: ops.linear_grad_input(grad, weight, *columns, sizes),
                "grad_weight": lambda: ops.linear_grad_weight(grad, x, lists.block_of, sizes, packed),
            }
        side = layer.side, layer.side
        return {
            "forward": lambda: ops.conv2d(x, weight, None, *rows, sizes, window, "none"),
            "grad_input": lambda: ops.conv2d_grad_input(grad, weight, *columns, sizes, window, side),
            "grad_weight": lambda: ops.conv2d_grad_weight(grad, x, lists.block_of, sizes, window, packed),
        }

    def dense(self, weight: Tensor, x: Tensor, grad: Tensor) -> dict[str, Work]:
        """The same with torch's dense ops."""
        window = self.cell.layer.window
        if window is None:
            return {
                "forward": lambda: F.linear(x, weight),
                "grad_input": lambda: grad @ weight,
                "grad_weight": lambda: grad.T @ x,
            }
        geometry = window.stride, window.padding, window.dilation

        def backward(*wanted: bool) -> tuple[Tensor, ...]:
            return torch.ops.aten.convolution_backward(
                grad, x, weight, None, *geometry, False, (0, 0), window.groups, (*wanted, False)
            )

        return {
            "forward": lambda: F.conv2d(x, weight, None, *geometry),
            "grad_input": lambda: backward(True, False)[0],
            "grad_weight": lambda: backward(False, True)[1],
        }

    def errors(self, ours: dict[str, Work]) -> dict[str, float]:
        """Relative errors against the dense op on the masked weight, in a higher precision."""
        precise = torch.float64 if self.cell.dtype == torch.float32 else torch.float32
        mask = self.pattern.spread(self.pattern.keep)
        weight = masked_weight(self.weight.to(precise), mask)
        expected = self.dense(weight, self.x.to(precise), self.grad.to(precise))
        found = {}
        for name, work in ours.items():
            exact, result = expected[name](), work()
            if name == "grad_weight":
                exact = masked_weight(exact, mask)
                exact = pack(exact, self.pattern) if self.cell.storage == "packed" else exact
            found[name] = float((result.to(precise) - exact).norm() / exact.norm())
        return found

    def rivals(self) -> dict[str, Work]:
        """Other block-sparse products, forward only; made here so that their set-up is not timed."""
        made: dict[str, Work] = {}
        if self.cell.layer.window is None and self.cell.dtype != torch.float32:
            masked = masked_weight(self.weight, self.pattern.spread(self.pattern.keep))
            bsr = masked.to_sparse_bsr(self.cell.block)
            made["torch BSR"] = lambda: F.linear(self.x, bsr)
            if self.cell.block == (128, 128):
                try:
                    import stk
                except ImportError:
                    return made
                transposed = stk.ops.to_sparse(masked.T.contiguous(), 128)
                made["STK"] = lambda: stk.ops.dds(self.x, transposed)
        return made


def together(works: dict[str, Work]) -> Work:
    return lambda: [work() for work in works.values()]


def milliseconds(work: Work) -> float:
    return do_bench_cudagraph(work, rep=20, return_mode="median")


def measure(cell: Cell, device: torch.device) -> Iterator[dict[str, Any]]:
    """Rows of the table. Raises ArithmeticError instead of timing a wrong result."""
    case = Case.of(cell, device)
    ours = case.ours()
    errors = case.errors(ours)
    if not max(errors.values()) < TOLERANCE[cell.dtype]:
        raise ArithmeticError(f"wrong result: {errors}")
    dense = case.dense(case.weight, case.x, case.grad)
    forward_ms = milliseconds(ours["forward"])
    library = "cuDNN channels_last" if cell.layer.window else "cuBLAS"
    timed = [
        ("forward", library, dense["forward"], forward_ms),
        ("forward+backward", library, together(dense), milliseconds(together(ours))),
        *(("forward", rival, work, forward_ms) for rival, work in case.rivals().items()),
    ]
    for name, baseline, work, ours_ms in timed:
        try:
            baseline_ms = milliseconds(work)
        except (RuntimeError, NotImplementedError, triton.CompilationError) as error:
            print(f"{baseline} cannot: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        gflop = cell.layer.gflop * case.pattern.density * (1 if name == "forward" else 3)
        yield {
            "op": "conv2d" if cell.layer.window else "linear",
            "shape": cell.layer.shape,
            "batch": cell.layer.batch,
            "dtype": str(cell.dtype).removeprefix("torch."),
            "density": case.pattern.density,
            "block": f"{cell.block[0]}x{cell.block[1]}",
            "storage": cell.storage,
            "pass": name,
            "baseline": baseline,
            "baseline_ms": baseline_ms,
            "ours_ms": ours_ms,
            "speedup": baseline_ms / ours_ms,
            "relative_error": errors["forward"] if name == "forward" else max(errors.values()),
            "tflops": gflop / ours_ms,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        }


def main(options: Options) -> int:
    if not torch.cuda.is_available():
        print("this benchmark needs a CUDA device, and torch finds none")
        return 1
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    device, end = torch.device("cuda", torch.cuda.current_device()), time.monotonic() + 60 * options.minutes
    name = torch.cuda.get_device_name(device)
    rows: list[dict[str, Any]] = []
    failed, left_out, seen = [], [], set()
    for cell in cells():
        if cell in seen:
            continue
        seen.add(cell)
        if time.monotonic() > end:
            left_out.append(str(cell))
            continue
        try:
            for row in measure(cell, device):
                rows.append(row)
                print(*(f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if k != "device"), flush=True)
        except ArithmeticError as error:
            failed.append(f"{cell}: {error}")
            print(failed[-1], file=sys.stderr)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "triton": triton.__version__}
        peak = PEAK_TFLOPS.get(name)
        result = {
            "device": name, "versions": versions, "peak_tflops": peak, "break_even": break_even(rows),
            "failed": failed, "left_out": left_out, "rows": rows,
        }  # fmt: skip
        atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")
    result["left_out"] = left_out
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")
    draw(rows, options.out.with_suffix(".png"), peak)
    if options.keep_configurations:
        tune.PACKAGED.mkdir(exist_ok=True)
        shutil.copy(tune.cache() / tune.file_name(name), tune.PACKAGED)
    show(rows, result["break_even"], peak)
    print(f"{len(failed)} cells gave wrong results, {len(left_out)} were left out for want of time")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
