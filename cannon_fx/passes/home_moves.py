"""Counting: how many elements go from which tile to which, for an op's transfers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cannon_fx.hw.arrays import Ints
from cannon_fx.passes.home_calls import Transfer
from cannon_fx.passes.home_tensors import CONSTANT, active, narrowed, uniform
from cannon_fx.plans import Move

WALKED = 1 << 14
"""Elements up to which a table is walked; in a larger one equal slices are found and counted first."""


def move(node: str, op: str, transfers: Sequence[Transfer], by_rule: bool = True) -> Move | None:
    """One Move of an op's transfers; None where nothing has to travel."""
    producers: list[str] = []
    rows: list[Ints] = []
    for transfer in transfers:
        pairs, elements = count(transfer)
        if len(elements):
            if transfer.operand.name not in producers:
                producers.append(transfer.operand.name)
            producer = np.full(len(elements), producers.index(transfer.operand.name))
            rows.append(np.stack([producer, *pairs, elements * transfer.times]))
    if not rows:
        return None
    table = np.concatenate(rows, axis=1)
    tiles = int(table[1:3].max()) - CONSTANT + 1
    shape = len(producers), tiles, tiles
    edges = np.ravel_multi_index((table[0], table[1] - CONSTANT, table[2] - CONSTANT), shape)
    keys, place = np.unique(edges, return_inverse=True)
    elements = np.zeros(len(keys), np.int64)
    np.add.at(elements, place, table[3])
    producer, source, target = np.unravel_index(keys, shape)
    return Move(node, op, tuple(producers), producer, source + CONSTANT, target + CONSTANT, elements, by_rule)


def count(transfer: Transfer) -> tuple[Ints, Ints]:
    """(source, target) tiles [2, k] and elements [k] that go from the one to the other."""
    home = transfer.source[(None,) * (transfer.target.dim() - transfer.source.dim())]
    source, target = torch.broadcast_tensors(home, transfer.target)
    if not source.numel() or not active(home):
        return np.zeros((2, 0), np.int64), np.zeros(0, np.int64)
    # What goes once per tile: an element, or what a tile makes of its elements along the combined dimensions.
    own = [size > 1 and d not in transfer.combined for d, size in enumerate(home.shape)]
    weights = [torch.tensor([size if alone else 1]) for size, alone in zip(source.shape, own, strict=True)]
    still = [d for d in range(source.dim()) if uniform(source, d) and uniform(target, d)]
    source, target = narrowed(source, still), narrowed(target, still)
    for dimension in sorted(set(range(source.dim())) - set(still)):
        size = source.shape[dimension]
        kept, counts = torch.arange(size), torch.ones(size, dtype=torch.int64)
        if source.numel() > WALKED:
            kept, counts = _distinct(source, target, dimension)
        source, target = source.index_select(dimension, kept), target.index_select(dimension, kept)
        weights[dimension] = counts if own[dimension] else torch.ones(1, dtype=torch.int64)
    moving = (source != target) & (source != CONSTANT) & (target != CONSTANT)
    shape = [len(counts) for counts in weights]
    weight = torch.ones((), dtype=torch.int64)
    for dimension, counts in enumerate(weights):
        weight = weight * counts.view([-1 if d == dimension else 1 for d in range(len(shape))])
    identity = torch.arange(weight.numel()).view(shape).expand(moving.shape)[moving].numpy()
    ends = np.stack([source[moving].numpy(), target[moving].numpy()]).astype(np.int64) - CONSTANT
    tiles = int(ends.max(initial=0)) + 1
    once = np.unique((identity * tiles + ends[0]) * tiles + ends[1])
    pairs, place = np.unique(once % tiles**2, return_inverse=True)
    elements = np.zeros(len(pairs), np.int64)
    np.add.at(elements, place, weight.ravel().numpy()[once // tiles**2])
    return np.stack(np.divmod(pairs, tiles)) + CONSTANT, elements


def _distinct(source: Tensor, target: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """Indices of slices that differ in source or target homes, and how often each occurs."""
    slices: Any = torch.stack([source.movedim(dimension, 0), target.movedim(dimension, 0)], 1).flatten(1)
    _, kind, counts = slices.unique(dim=0, return_inverse=True, return_counts=True)
    first = torch.full((len(counts),), len(kind)).scatter_reduce(0, kind, torch.arange(len(kind)), "amin")
    return first, counts
