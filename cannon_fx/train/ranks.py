"""The processes that train one network together, as torchrun starts them. In a process alone, all of this is idle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cannon_fx.errors import RunError

T = TypeVar("T")


def ranks() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Inside, the processes that torchrun has started know of each other, and each has a GPU of its own.

    Raises RunError for a device that they would have to share.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    kind = device.partition(":")[0]
    if kind == "cuda":
        if device != kind:
            raise RunError(f"device {device!r} is one GPU, but torchrun gives every process its own: write 'cuda'.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def gathered(value: T) -> list[T]:
    """Every process's value, by rank, on all of them."""
    if ranks() == 1:
        return [value]
    found: list[Any] = [None] * ranks()
    dist.all_gather_object(found, value)
    return found


def agreed(value: T) -> T:
    """Rank 0's value, on all processes."""
    if ranks() == 1:
        return value
    found: list[Any] = [value]
    dist.broadcast_object_list(found)
    return found[0]


def first(action: Callable[[], T]) -> T:
    """Done by rank 0 alone; what it returns or raises is returned or raised on all processes."""
    if ranks() == 1:
        return action()
    result, error = None, None
    if rank() == 0:
        try:
            result = action()
        except Exception as raised:  # the others must not wait for ever
            error = raised
    result, error = agreed((result, error))
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # no None unless the action returned it


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if ranks() > 1:
        dist.all_reduce(values)
    return values


@torch.no_grad()
def average_gradients_(parameters: Iterable[Tensor]) -> None:
    """The mean over all processes, in one message."""
    if ranks() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    together = summed(torch.cat([gradient.flatten() for gradient in gradients])) / ranks()
    for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))
