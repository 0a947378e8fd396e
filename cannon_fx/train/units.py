"""Units: what is kept or cut together.

When the last layer that reads a channel stops reading it, the channel is dead: it need not be brought to anybody's
tiles, nor moved to where residuals are added, nor summed up over its own layer's tiles. Cutting one reader alone saves
little of that. So a unit is a channel group together with every layer that reads any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cannon_fx.channels import Channels, Reading
from cannon_fx.hw.arrays import Ints
from cannon_fx.plans import Keep, Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a plan, numbered. `of_group`: per layer name, the unit of each channel group, int [G].

    `of_channel`, int [channels + 2]: the unit that reads it; `count` for channels that no layer reads, and for the
    constants and the network's input at the end.
    """

    plan: Plan
    count: int
    of_group: Mapping[str, Ints]
    of_channel: Ints

    @classmethod
    def of(cls, plan: Plan, channels: Channels) -> Units:
        """Groups that share a channel belong together: shortcuts are read by several layers."""
        starts = np.cumsum([0, *(layer.groups for layer in plan.layers)])
        first = {layer.name: start for layer, start in zip(plan.layers, starts[:-1], strict=True)}
        size_of = {layer.name: layer.group_size for layer in plan.layers}
        reading = [step for step in channels.steps if isinstance(step, Reading)]
        none = np.zeros(0, np.int64)  # of a network where nothing is mapped
        group = np.concatenate([none, *(first[r.layer.name] + r.channel // size_of[r.layer.name] for r in reading)])
        channel = np.concatenate([none, *(step.source for step in reading)])
        real, size = channel >= 0, starts[-1] + len(channels)
        edges = coo_array((np.ones(real.sum()), (group[real], starts[-1] + channel[real])), (size, size))
        _, label = connected_components(edges, directed=False)
        used, unit = np.unique(label[: starts[-1]], return_inverse=True)
        place = np.searchsorted(used, label[starts[-1] :]).clip(max=len(used) - 1)
        of_channel = np.where(used[place] == label[starts[-1] :], place, len(used))
        of_group = dict(zip(first, np.split(unit, starts[1:-1]), strict=True))
        return cls(plan, len(used), of_group, np.append(of_channel, [len(used), len(used)]))

    def keep(self, kept: NDArray[np.bool_]) -> Keep:
        """The connections that are kept when these units are: bool [J, G] per layer name."""
        return {
            layer.name: np.broadcast_to(kept[self.of_group[layer.name]], (layer.column_blocks, layer.groups))
            for layer in self.plan.layers
        }

    def given(self, keep: Keep) -> NDArray[np.bool_]:
        """The units of which these connections hold something."""
        return self.per_unit({name: mask.any(0).astype(float) for name, mask in keep.items()}) > 0

    def per_unit(self, per_group: Mapping[str, Floats]) -> Floats:
        """Sums over the groups of each unit."""
        total = np.zeros(self.count)
        for name, values in per_group.items():
            np.add.at(total, self.of_group[name], values)
        return total
