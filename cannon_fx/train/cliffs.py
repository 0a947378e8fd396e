"""Cliffs: with few enough input channels left, a layer needs one row block fewer, and that one's partial sums end.

No single unit's price holds that, since only the last of them to go brings it. So the units that it takes, the least of
the layer, share what they save together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cannon_fx.channels import Pairs
from cannon_fx.counting import Counter
from cannon_fx.hw.arrays import Ints
from cannon_fx.train.unit_prices import Floats, sums_pj
from cannon_fx.train.units import Units


@dataclass(frozen=True)
class Cliff:
    """`saved_pj` end when any `channels` of a layer's channels have gone; `unit` is that of each that it has."""

    unit: Ints
    channels: int
    saved_pj: float

    def passed(self, kept: NDArray[np.bool_]) -> bool:
        """Whether so few are left when these units are kept."""
        return int((~kept[self.unit]).sum()) >= self.channels


def before_cliffs(order: Floats, importance: Floats, price: Floats, ahead: Iterable[Cliff]) -> Floats:
    """The `order` of units, importance per price, with those before a cliff as low as the cliff makes them.

    Of several layers that read the same units, one after another.
    """
    order = order.copy()
    for cliff in ahead:
        unit, channels = np.unique(cliff.unit, return_counts=True)
        first = np.argsort(order[unit], kind="stable")
        bundle = unit[first][: np.searchsorted(np.cumsum(channels[first]), cliff.channels) + 1]
        order[bundle] = np.minimum(order[bundle], worth(importance[bundle], price[bundle], cliff.saved_pj))
    return order


def worth(importance: Floats, price: Floats, saved: float) -> float:
    """Importance per price at which units go that save `saved` together; they are sorted by their own.

    Those from the k-th on go at sum(importance) / (sum(price) + saved). Those before the k-th have gone by then, for
    less: k makes that the highest.
    """
    value, paid = (np.cumsum(each[::-1])[::-1] for each in (importance, price))
    return float((value / (paid + saved)).max())


def cliffs(units: Units, counter: Counter, pairs: Pairs) -> Iterator[Cliff]:
    """The next one of every layer of several row blocks when only `pairs` are left."""
    left = counter.needed_pairs(pairs)
    group_size = {layer.name: layer.group_size for layer in units.plan.layers}
    for layer in counter.plan.layers:
        channel = np.flatnonzero(left[layer.name].any(0))
        if len(channel) <= layer.row_channels:
            continue
        if total_pj := float(sums_pj(counter, layer, left).sum()):
            yield Cliff(
                unit=units.of_group[layer.name][channel // group_size[layer.name]],
                channels=len(channel) % layer.row_channels or layer.row_channels,
                saved_pj=total_pj / (layer.row_blocks - 1),
            )
