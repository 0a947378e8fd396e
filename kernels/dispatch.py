"""Which kernels compute a raw op: Triton on a GPU, C++ on a CPU, plain torch where neither can."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import plain
from .window import Window

log = logging.getLogger(__name__)


def call(name: str, *arguments: Any) -> Tensor:
    """The op `name` of whichever file has it for this device and dtype; all take the same arguments."""
    first: Tensor = arguments[0]
    kernels = _kernels(first, arguments)
    if kernels is not None:
        return getattr(kernels, name)(*arguments)
    if first.dtype not in (torch.float16, torch.bfloat16):
        return getattr(plain, name)(*arguments)
    # 16-bit numbers without instructions for them: computed in fp32, as the others sum in fp32 too.
    wide = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments]
    return getattr(_kernels(wide[0], wide) or plain, name)(*wide).to(first.dtype)


def _kernels(first: Tensor, arguments: Sequence[Any]) -> Any:
    """The file of kernels for these arguments, or None."""
    if first.numel() == 0:
        return None
    if first.is_cuda:
        triton = _triton()
        if triton is None:
            return None
        sizes = next(a for a in arguments if isinstance(a, Sequence))
        groups = next((a.groups for a in arguments if isinstance(a, Window)), 1)
        return triton if triton.available(first.dtype, sizes, groups) else None
    if compiled(first.dtype):
        from .cpu import brgemm

        return brgemm
    return None


def fast(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this machine has kernels for `device` and `dtype`."""
    return _triton() is not None if device.type == "cuda" else compiled(dtype)


@functools.cache
def _triton() -> Any:
    """The Triton kernels, or None where Triton is not installed (Windows, a CPU build of torch)."""
    try:
        return importlib.import_module(".triton.ops", __package__)
    except ModuleNotFoundError as error:
        log.warning("block-sparse layers run in plain torch on the GPU, more slowly: %s (pip install triton).", error)
        return None


@functools.cache
def compiled(dtype: torch.dtype) -> bool:
    """Whether this machine's CPU has compiled kernels for `dtype`. Builds them at the first call."""
    if dtype not in (torch.float32, torch.bfloat16) or not _built():
        return False
    from .cpu import brgemm

    return brgemm.available(dtype)


@functools.cache
def _built() -> bool:
    from .cpu import brgemm
    from .cpu.build import BuildError

    try:
        brgemm.library()
    except BuildError as error:
        log.warning("block-sparse layers run in plain torch, more slowly: no compiled kernels, since %s.", error)
        return False
    return True


@functools.cache
def zeros_in_place() -> bool:
    """Whether this machine's CPU has the ops of zero.cpp. Builds them at the first call."""
    from .cpu import build

    try:
        torch.ops.load_library(build.library("zero.cpp"))
    except (build.BuildError, OSError) as error:
        log.warning("what is cut is masked out of place, more slowly: no compiled ops, since %s.", error)
        return False
    return True
