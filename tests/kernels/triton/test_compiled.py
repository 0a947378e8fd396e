"""The machine code of the launches, compiled without a device: tensor cores, wide copies ahead, and no spills.

Each launch runs as on a device up to the launch itself, so what is compiled is what a user's call would compile.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cannon_fx.kernels.packed import pack
from cannon_fx.kernels.pattern import BlockPattern
from cannon_fx.kernels.window import Window

triton = pytest.importorskip("triton", reason="Triton is not installed")
CPU = torch.device("cpu")
SHARED = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes that a program may have on A100 and H100"""


@dataclass(frozen=True)
class Code:
    """What one launch became."""

    name: str
    configuration: Any
    instructions: list[str]
    resources: dict[str, int]
    shared: int

    def count(self, opcode: str) -> int:
        return sum(instruction.startswith(opcode) for instruction in self.instructions)


def disassemble(kernel: Any, configuration: Any, folder: Path) -> Code:
    import triton.backends.nvidia

    tool = Path(triton.backends.nvidia.__file__).parent / "bin" / "cuobjdump"
    file = folder / "kernel.cubin"
    file.write_bytes(kernel.asm["cubin"])
    if kernel.metadata.target.arch == 90:
        source = folder / "kernel.ptx"
        source.write_text(kernel.asm["ptx"])
        command = [tool.with_name("ptxas"), "-v", "-arch=sm_90a", source, "-o", folder / "again.cubin"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "wgmma.mma_async instructions are serialized" not in said.stdout + said.stderr
    usage, listing = (
        subprocess.run([tool, option, file], capture_output=True, text=True, check=True).stdout
        for option in ("-res-usage", "-sass")
    )
    instructions = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(\S+)", listing, re.MULTILINE)
    resources = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return Code(kernel.metadata.name, configuration, instructions, resources, kernel.metadata.shared)


class Compiler:
    """Stands where the launches find their device and their configuration; collects what they compile."""

    def __init__(self, capability: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from triton.backends.compiler import GPUTarget
        from triton.runtime.jit import JITFunction

        from cannon_fx.kernels.triton import outer, product
        from cannon_fx.kernels.triton.configuration import candidates

        self.capability, self.number, self.codes = capability, 0, list[Code]()
        run, limit = JITFunction.run, SHARED[capability] - 4096
        self.candidates: list[Any] = []

        def compile_instead(function: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
            kernel = run(function, *arguments, grid=grid, warmup=True, **options)
            self.codes.append(disassemble(kernel, self.taken, folder))

        def take(problem: Any, *_: Any) -> Any:
            self.candidates = list(candidates(problem))
            self.taken = self.candidates[min(self.number, len(self.candidates) - 1)]
            return self.taken

        monkeypatch.setattr(JITFunction, "run", compile_instead)
        target = GPUTarget("cuda", capability, 32)
        driver = SimpleNamespace(
            # Also the key under which Triton keeps what it has compiled.
            get_current_device=lambda: capability,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
        monkeypatch.setattr(triton.runtime.driver, "_active", driver)
        for module in (outer, product):
            monkeypatch.setattr(module, "choose", take)
            monkeypatch.setattr(module, "shared_limit", lambda device: limit)
            monkeypatch.setattr(module, "processors", lambda device: 132)
            fit = module.descriptors_fit
            monkeypatch.setattr(module, "descriptors_fit", lambda *a, fit=fit: capability >= 90 and fit(*a))


@pytest.fixture(params=[80, 90], ids=["sm_80", "sm_90"])
def compiler(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    if triton.knobs.runtime.interpret:
        pytest.skip("the interpreter compiles nothing")
    return Compiler(request.param, tmp_path, monkeypatch)


def launch(
    compiler: Compiler,
    block: tuple[int, int],
    dtype: torch.dtype,
    window: Window | None,
    packed: bool,
    channels: int = 256,
    batch: int = 4,
) -> None:
    """Forward and both gradients of a layer of as many input as output channels."""
    from cannon_fx.kernels.triton import ops

    inside = channels // window.groups if window else channels
    keep = torch.ones(-(-channels // block[0]), -(-inside // block[1]), dtype=torch.bool)
    pattern, sizes = BlockPattern(keep, channels, inside, *block), (channels, inside, *block)
    lists = pattern.lists(CPU)
    weight = torch.zeros(channels, inside, *(window.taps if window else ()), dtype=dtype)
    weight = pack(weight, pattern) if packed else weight
    bias = torch.zeros(channels, dtype=dtype)
    rows, columns = (
        (lists.row_start, lists.row_group, lists.block_of),
        (lists.col_start, lists.col_block, lists.col_slot),
    )
    if window:
        x = torch.zeros(batch, channels, 28, 28, dtype=dtype).contiguous(memory_format=torch.channels_last)
        y = ops.conv2d(x, weight, bias, *rows, sizes, window, "gelu")
        ops.conv2d_grad_input(y, weight, *columns, sizes, window, (28, 28))
        ops.conv2d_grad_weight(y, x, lists.block_of, sizes, window, packed)
    else:
        x = torch.zeros(batch * 512, channels, dtype=dtype)
        y = ops.linear(x, weight, bias, *rows, sizes, "gelu")
        ops.linear_grad_input(y, weight, *columns, sizes)
        ops.linear_grad_weight(y, x, lists.block_of, sizes, packed)


def assert_good(code: Code, capability: int, dtype: torch.dtype, group_size: int) -> None:
    told = f"{code.name} {code.configuration} {dtype} sm_{capability} {code.resources}"
    assert code.resources["STACK"] == code.resources["LOCAL"] == 0, told
    assert code.count("STL") == code.count("LDL") == 0, told
    if code.name == "sum_parts":
        return
    # wgmma has 64 rows at the least; smaller tiles go to the older tensor-core instruction.
    wgmma = capability == 90 and dtype != torch.float32 and code.configuration.block_m >= 64
    assert code.count("HGMMA" if wgmma else "HMMA") > 0 or code.count("HGMMA") > 0, told
    if wgmma:
        assert code.count("HMMA") == 0, told
    copies = "LDGSTS.E.BYPASS.128" if group_size % 16 == 0 else "LDGSTS"
    assert code.count("UTMALDG" if code.configuration.descriptors else copies) > 0, told


WINDOW = Window((3, 3), padding=(1, 1))


@pytest.mark.parametrize("window", [None, WINDOW], ids=["linear", "conv"])
@pytest.mark.parametrize("block", [(128, 64), (64, 16)])
def test_default_configurations(compiler: Compiler, block: tuple[int, int], window: Window | None) -> None:
    launch(compiler, block, torch.bfloat16, window, packed=False)
    assert len(compiler.codes) >= 3
    for code in compiler.codes:
        assert_good(code, compiler.capability, torch.bfloat16, block[1])


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, WINDOW, Window((3, 3), (2, 2), (1, 1))], ids=["linear", "conv", "strided"])
@pytest.mark.parametrize("block", [(128, 64), (64, 16), (32, 32), (24, 12)])
@pytest.mark.parametrize(("dtype", "packed"), [(torch.bfloat16, False), (torch.float16, True), (torch.float32, True)])
def test_all_configurations(
    compiler: Compiler, block: tuple[int, int], dtype: torch.dtype, window: Window | None, packed: bool
) -> None:
    while True:
        launch(compiler, block, dtype, window, packed)
        compiler.number += 1
        if compiler.number >= len(compiler.candidates):
            break
    for code in compiler.codes:
        assert_good(code, compiler.capability, dtype, block[1])


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize(
    ("channels", "block", "window"),
    [
        (1, (1, 1), None),
        (7, (3, 2), None),
        (4, (1, 1), Window((3, 3), padding=(1, 1), groups=4)),
        (1, (1, 1), Window((1, 1), (2, 2))),
    ],
)
def test_arguments_of_one_compile(
    compiler: Compiler, channels: int, block: tuple[int, int], window: Window | None, packed: bool
) -> None:
    """Triton makes every argument that is one a constant, which allows less than a number does."""
    launch(compiler, block, torch.float16, window, packed, channels, batch=1)
    assert {code.name for code in compiler.codes} >= {"block_matmul", "block_grad_weight"}


def test_loads_run_as_far_ahead_as_asked(compiler: Compiler) -> None:
    """Shared memory holds all buffers: an index that a step loads for itself would leave half of them."""
    launch(compiler, (128, 64), torch.bfloat16, None, packed=False)
    # Without wgmma, which reads shared memory itself, one buffer less will do.
    spare = 0 if compiler.capability == 90 else 1
    for code in compiler.codes:
        if code.name != "sum_parts":
            buffers = code.configuration.stages - spare
            assert code.shared >= code.configuration.shared_bytes(2) // code.configuration.stages * buffers
