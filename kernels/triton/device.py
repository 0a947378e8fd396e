"""What the launches ask of a device. Without one the kernels may run in Triton's interpreter, on CPU tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


@functools.cache
def processors(device: torch.device) -> int:
    """Streaming multiprocessors."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


@functools.cache
def shared_limit(device: torch.device) -> int:
    """Bytes of shared memory that one program may fill; a few kilobytes are left to the compiler."""
    if device.type != "cuda":
        return 96 * 1024
    with torch.cuda.device(device):
        active = triton.runtime.driver.active
        return active.utils.get_device_properties(torch.cuda.current_device())["max_shared_mem"] - 4096


def check_rows(rows: int) -> None:
    """Raises ValueError where a kernel, which counts positions in 31 bits and rounds them up to tiles, could not."""
    if rows > 2**30:
        raise ValueError(f"{rows} positions in one call, and a kernel takes up to {2**30}: split the batch")


def descriptors_fit(*tensors: Tensor) -> bool:
    """Whether the device copies boxes (compute capability 9 and up) and can address these tensors.

    Base and strides must be multiples of 16 bytes; the last stride is 1.
    """
    device = tensors[0].device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
        return False
    return all(
        tensor.numel() > 0
        and tensor.data_ptr() % 16 == 0
        and all(stride > 0 and stride * tensor.element_size() % 16 == 0 for stride in _outer_strides(tensor))
        for tensor in tensors
    )


def descriptor(tensor: Tensor, box: Sequence[int]) -> TensorDescriptor:
    """Of a tensor that fits; it loads boxes of this shape."""
    return TensorDescriptor(tensor, list(tensor.shape), [*_outer_strides(tensor), 1], list(box))


def _outer_strides(tensor: Tensor) -> list[int]:
    """All but the last. That of a dimension of one may be any number in torch; here it is what it ought to be."""
    strides: list[int] = []
    extent = tensor.shape[-1]
    for size, stride in zip(tensor.shape[-2::-1], tensor.stride()[-2::-1], strict=True):
        strides.insert(0, stride if size > 1 else -(-extent // 16) * 16)
        extent = max(extent, size * strides[0])
    return strides


def wide(*tensors: Tensor) -> bool:
    """Whether an offset into one of the tensors needs more than 31 bits."""
    return any(
        sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) >= 2**31
        for tensor in tensors
    )


def precision(dtype: torch.dtype) -> str:
    """How products are formed: fp32 from three tf32 products each, or one where torch was told that tf32 will do."""
    if dtype != torch.float32:
        return "ieee"
    # Not allow_tf32, which raises when the user has set fp32_precision; this one knows both.
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"
