"""Home tensors: for every element of a value, the tile that holds it.

A home tensor has the shape of its value. Along a dimension where homes do not change it has stride 0, so that a
feature map costs as much as its channels; everything here keeps it so and never walks such a dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

CONSTANT = -2
"""Home of values that no activation reaches: parameters, buffers, literals. They are where they are needed."""


def everywhere(tile: int, shape: Sequence[int]) -> Tensor:
    """Homes of a value of `shape` that is all on one tile."""
    return torch.full((1,) * len(shape), tile, dtype=torch.int32).expand(tuple(shape))


def filled(value: Any, tile: int) -> Any:
    """Homes of `value`, all on `tile`; same structure for lists and tuples of values."""
    if isinstance(value, Tensor):
        return everywhere(tile, value.shape)
    if isinstance(value, (list, tuple)):
        return [filled(item, tile) for item in value]
    return value


def active(home: Tensor) -> bool:
    """True where some element depends on the network's input."""
    return bool((lean(home) != CONSTANT).any())


def uniform(home: Tensor, dimension: int) -> bool:
    """True where homes do not change along `dimension`."""
    return home.shape[dimension] == 1 or home.stride(dimension) == 0


def narrowed(home: Tensor, dimensions: Iterable[int]) -> Tensor:
    """The first element along each of `dimensions`, which stay, with size 1."""
    for dimension in dimensions:
        home = home.narrow(dimension, 0, min(1, home.shape[dimension]))
    return home


def lean(home: Tensor) -> Tensor:
    """Every uniform dimension narrowed to size 1."""
    return narrowed(home, [d for d in range(home.dim()) if uniform(home, d)])


def compact(home: Tensor) -> Tensor:
    """The same homes, with stride 0 along every dimension where they do not change."""
    small = lean(home)
    for dimension in range(small.dim()):
        if small.shape[dimension] > 1 and bool((small == small.narrow(dimension, 0, 1)).all()):
            small = small.narrow(dimension, 0, 1)
    return small.expand(home.shape)


def along(op: Callable[[list[Tensor]], Tensor], homes: Sequence[Tensor], dimensions: Sequence[int]) -> Tensor:
    """`op` of homes of one rank, where it mixes elements along `dimensions` only."""
    rank = homes[0].dim()
    mixed = {d % rank for d in dimensions}
    shared = [d for d in range(rank) if d not in mixed and all(uniform(home, d) for home in homes)]
    result = op([narrowed(home, shared) for home in homes])
    return result.expand(*(homes[0].shape[d] if d in shared else result.shape[d] for d in range(rank)))


def reshape(home: Tensor, shape: Sequence[int]) -> Tensor:
    """`home.reshape(shape)`; a view where one exists. What is uniform and stays among itself stays uniform."""
    try:
        return home.view(shape)
    except RuntimeError:
        small_old, small_new, start_old, start_new = [], [], 0, 0
        old, new = list(home.shape), list(shape)
        if 0 in old:
            return home.reshape(shape)
        while start_old < len(old) or start_new < len(new):
            end_old, end_new, size_old, size_new = start_old, start_new, 1, 1
            while True:  # the next dimensions of both shapes that hold the same number of elements
                if size_old <= size_new and end_old < len(old):
                    size_old, end_old = size_old * old[end_old], end_old + 1
                elif end_new < len(new):
                    size_new, end_new = size_new * new[end_new], end_new + 1
                if size_old == size_new and (end_old > start_old or end_new > start_new):
                    break
            still = all(uniform(home, d) for d in range(start_old, end_old))
            small_old += [1 if still else size for size in old[start_old:end_old]]
            small_new += [1 if still else size for size in new[start_new:end_new]]
            start_old, start_new = end_old, end_new
        small = narrowed(home, [d for d, size in enumerate(small_old) if size != old[d]])
        return compact(small.reshape(small_new)).expand(shape)


def head(home: Tensor, dimensions: Iterable[int]) -> Tensor:
    """Where lines along `dimensions` begin: the home of the first element that is no constant; size 1 along them."""
    lines = sorted({d % home.dim() for d in dimensions}) if home.dim() else []
    if not home.numel():
        shape = [1 if d in lines else size for d, size in enumerate(home.shape)]
        return torch.full(shape, CONSTANT, dtype=torch.int32)
    home = narrowed(home, [d for d in lines if uniform(home, d)])
    small = lean(home)
    mixed = [d for d in lines if small.shape[d] > 1]
    if not mixed:
        return home
    flat = small.movedim(mixed, tuple(range(-len(mixed), 0))).flatten(-len(mixed))
    first = (flat != CONSTANT).to(torch.int8).argmax(-1, keepdim=True)
    begins = flat.gather(-1, first).reshape([1 if d in mixed else size for d, size in enumerate(small.shape)])
    return begins.expand([1 if d in mixed else size for d, size in enumerate(home.shape)])


def merged(first: Tensor, second: Tensor, shape: Sequence[int]) -> Tensor:
    """`first`, and `second` where `first` is constant, both broadcast to `shape`."""
    first, second = first.expand(shape), second.expand(shape)
    if not bool((lean(first) == CONSTANT).any()):
        return first
    shared = [d for d in range(first.dim()) if uniform(first, d) and uniform(second, d)]
    small, other = narrowed(first, shared), narrowed(second, shared)
    return torch.where(small == CONSTANT, other, small).expand(shape)
