"""A layer and its split over tiles: row blocks, column blocks, channel groups, connections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from cannon_fx.hw.arrays import Ints


def weight_key(layer: str) -> str:
    """The state_dict key of a layer's weight, by the layer's name: "" for a model that is one layer."""
    return f"{layer}.weight" if layer else "weight"


@dataclass(frozen=True)
class Layer:
    """One weight matrix op of the graph, split over I x J tiles.

    Channel group g is `group_size` consecutive input channels; no group straddles two row blocks. Column
    block j is `out_block` output channels. Connection (g, j) lives on tile (i(g), j). The tiles of a column
    block are numbered consecutively, so that an order-preserving placement keeps partial sums near.
    """

    name: str
    kind: Literal["linear", "conv2d"]
    node: str
    weight_shape: tuple[int, ...]
    positions: int
    group_size: int
    row_channels: int
    out_block: int
    first_tile: int
    called: bool = True
    """False where another module reads the weight, and the layer's own module does not run."""

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name or "(the model)"

    @property
    def out_channels(self) -> int:
        return self.weight_shape[0]

    @property
    def in_channels(self) -> int:
        return self.weight_shape[1]

    @property
    def taps(self) -> int:
        return int(np.prod(self.weight_shape[2:], dtype=np.int64))

    @property
    def groups(self) -> int:
        """G, the number of channel groups."""
        return -(-self.in_channels // self.group_size)

    @property
    def row_blocks(self) -> int:
        """I."""
        return -(-self.in_channels // self.row_channels)

    @property
    def column_blocks(self) -> int:
        """J."""
        return -(-self.out_channels // self.out_block)

    @property
    def tiles(self) -> int:
        return self.row_blocks * self.column_blocks

    @cached_property
    def row_block_of(self) -> Ints:
        """i(g), int [G]."""
        return np.arange(self.groups) * self.group_size // self.row_channels

    @cached_property
    def first_groups(self) -> Ints:
        """The first channel group of each row block, int [I]."""
        return np.arange(self.row_blocks) * self.row_channels // self.group_size

    @cached_property
    def tile_of(self) -> Ints:
        """The tile at (i, j), int [I, J]."""
        return self.first_tile + np.arange(self.tiles).reshape(self.column_blocks, self.row_blocks).T

    @cached_property
    def accumulator(self) -> Ints:
        """The tile where column block j's partial sums end, int [J]: the middle one of its tiles."""
        return self.tile_of[self.row_blocks // 2]

    @cached_property
    def column_channels(self) -> Ints:
        """Output channels of column block j, int [J]."""
        starts = np.arange(self.column_blocks) * self.out_block
        return np.minimum(starts + self.out_block, self.out_channels) - starts

    @cached_property
    def home_of_channel(self) -> Ints:
        """The tile where output channel n ends up, int [out_channels]."""
        return self.accumulator[np.arange(self.out_channels) // self.out_block]

    @cached_property
    def weights_of_connection(self) -> Ints:
        """Weights in connection (g, j), int [J, G]."""
        starts = np.arange(self.groups) * self.group_size
        channels = np.minimum(starts + self.group_size, self.in_channels) - starts
        return self.column_channels[:, None] * channels * self.taps
