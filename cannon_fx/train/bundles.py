"""The order in which a knapsack with set-up costs takes connections.

A tile's first connection also pays for the tile's partial sums. Per tile, the connections of best importance per price
form one bundle with that set-up cost, and the others follow one by one (the concave hull, so the greedy order solves
the relaxed problem). Bundles are taken in order of importance per price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cannon_fx.cost import Prices
from cannon_fx.hw.arrays import Ints
from cannon_fx.layer import Layer
from cannon_fx.plans import Plan

Importance = Mapping[str, NDArray[np.float64]]
"""Per layer name, how much the network would miss each connection: float [J, G], at least 0."""


def bundles_of(
    layer: Layer, price: Prices, importance: NDArray[np.float64]
) -> tuple[Ints, NDArray[np.float64], NDArray[np.bool_]]:
    """A layer's connections, tile by tile and best first: j x G + g, its bundle's ratio, whether it begins a bundle."""
    ends = np.append(layer.first_groups[1:], layer.groups)[:, None]
    groups = layer.first_groups[:, None] + np.arange((ends[:, 0] - layer.first_groups).max())  # [I, K]
    there, groups = (groups < ends)[:, None], np.minimum(groups, layer.groups - 1)
    value = np.where(there, importance[:, groups].swapaxes(0, 1), 0.0)  # [I, J, K]
    paid = np.where(there, price.input_pj[:, groups].swapaxes(0, 1), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(there, np.where(paid > 0, value / paid, np.inf), -np.inf)
        order = np.argsort(-ratio, axis=2, kind="stable")
        value, paid, ratio = (np.take_along_axis(table, order, 2) for table in (value, paid, ratio))
        prefix = np.cumsum(value, 2) / (price.sum_pj.T[:, :, None] + np.cumsum(paid, 2))
    prefix = np.where(np.isnan(prefix), np.inf, prefix)  # 0 / 0: worth nothing, costs nothing
    last, k = prefix.argmax(2)[:, :, None], np.arange(groups.shape[1])
    ratio = np.where(k <= last, np.take_along_axis(prefix, last, 2), ratio)
    columns = np.arange(layer.column_blocks)[:, None]
    place = columns * layer.groups + np.take_along_axis(np.broadcast_to(groups[:, None], order.shape), order, 2)
    valid = np.take_along_axis(np.broadcast_to(there, order.shape), order, 2)
    return place[valid], ratio[valid], ((k == 0) | (k > last))[valid]


@dataclass(frozen=True, eq=False)
class Bundles:
    """All connections of a plan in the order in which they are taken; first of all, the best bundle of every layer.

    `place` [connections]: where each lies in the masks of all layers, flat, end to end. Bundle b is
    `place[start[b] : start[b + 1]]`.
    """

    plan: Plan
    place: Ints
    start: Ints

    @classmethod
    def of(cls, plan: Plan, priced: Mapping[str, Prices], importance: Importance) -> Bundles:
        """By importance per price."""
        parts = [bundles_of(layer, priced[layer.name], importance[layer.name]) for layer in plan.layers]
        sizes = np.array([len(place) for place, _, _ in parts])
        layer = np.repeat(np.arange(len(parts)), sizes)
        place = np.concatenate([place for place, _, _ in parts]) + (np.cumsum(sizes) - sizes)[layer]
        ratio = np.concatenate([ratio for _, ratio, _ in parts])
        begins = np.concatenate([begins for _, _, begins in parts])
        order = np.argsort(-ratio, kind="stable")
        number = np.cumsum(begins[order])
        best = number[np.unique(layer[order], return_index=True)[1]]
        order = order[np.argsort(~np.isin(number, best), kind="stable")]
        return cls(plan, place[order], np.append(np.flatnonzero(begins[order]), len(order)))

    def __len__(self) -> int:
        return len(self.start) - 1

    def first(self, count: int) -> dict[str, NDArray[np.bool_]]:
        """The masks that keep the first `count` bundles."""
        keep = np.zeros(len(self.place), np.bool_)
        keep[self.place[: self.start[count]]] = True
        shapes = [(layer.column_blocks, layer.groups) for layer in self.plan.layers]
        parts = np.split(keep, np.cumsum([j * g for j, g in shapes])[:-1])
        return {
            layer.name: part.reshape(shape) for layer, part, shape in zip(self.plan.layers, parts, shapes, strict=True)
        }

    def bundle(self, number: int) -> tuple[Layer, Ints]:
        """Bundle `number`: its layer, and j x G + g of its connections."""
        place = self.place[self.start[number] : self.start[number + 1]]
        for layer in self.plan.layers:
            if place[0] < layer.column_blocks * layer.groups:
                return layer, place
            place = place - layer.column_blocks * layer.groups
        raise AssertionError("a bundle lies in some layer")
