"""A network from another tool's layer table: such a table says what shapes the layers have, not what connects them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cannon_fx.errors import MappingError
from cannon_fx.hw.exchange.layer_shape import LayerShape

Size = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True)
class Source:
    """The sum of `values` (0 is the network's input, n the output of layer n), all of one size."""

    values: tuple[int, ...]
    size: Size


class TableNetwork(nn.Module):
    """Convolutions and linear layers with ReLU in between, connected as their sizes demand.

    A layer takes the output of the one before; if other outputs of that size wait for a layer, as where a shortcut
    ends, their sum. If the output before does not fit, a layer takes what the latest layer took that does fit: so a
    shortcut with a layer of its own comes after the layers that it goes around. Shortcuts without one are in no table.
    What a layer takes is pooled to its size, and flattened in front of a linear one. Convolutions are padded,
    unless the next layer's size says that they are not. Raises MappingError where nothing fits.
    """

    def __init__(self, shapes: Sequence[LayerShape], origin: str) -> None:
        super().__init__()
        self.input_size: Size = _input(shapes[0])
        self.shapes, self.sources = tuple(shapes), list[Source]()
        sizes, waiting = [self.input_size], [0]
        for number, shape in enumerate(shapes, 1):
            where = f"{origin}, layer {number}" + (f" ({shape.name})" if shape.name else "")
            source = self._source(_input(shape), sizes, waiting, where)
            self.sources.append(source)
            after = _input(shapes[number]) if number < len(shapes) else None
            padding = _padding(shape, after)
            size = _output(shape, padding)
            if min(size) < 1:
                raise MappingError(f"{where}: its kernel is larger than its input. Correct the row.")
            self.add_module(self._name(shape.name, number), _layer(shape, padding))
            sizes.append(size)
            waiting = [value for value in waiting if value not in source.values] + [number]

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for layer, source, shape in zip(self.children(), self.sources, self.shapes, strict=True):
            x = values[source.values[0]]
            for value in source.values[1:]:
                x = x + values[value]
            if len(values) > 1:
                x = F.relu(x)
            x = layer(_brought(x, _input(shape), isinstance(layer, nn.Linear)))
            values.append(F.max_pool2d(x, 2) if shape.pool and min(x.shape[2:], default=1) > 1 else x)
        return values[-1]

    def _source(self, wanted: Size, sizes: list[Size], waiting: list[int], where: str) -> Source:
        last = sizes[-1]
        if _fits(last, wanted):
            return Source(tuple(value for value in waiting if sizes[value] == last), last)
        for earlier in reversed(self.sources):
            if _fits(earlier.size, wanted):
                return earlier
        raise MappingError(
            f"{where} takes {_words(wanted)}, but the layer before gives {_words(last)}, and nothing earlier fits. "
            "Correct the row. Concatenated branches cannot be told from a table: give such a network as --model."
        )

    def _name(self, name: str, number: int) -> str:
        plain = re.sub(r"\W", "_", name) or f"layer{number}"
        return f"{plain}_{number}" if hasattr(self, plain) else plain


def _input(shape: LayerShape) -> Size:
    return shape.in_channels, shape.height, shape.width


def _output(shape: LayerShape, padding: tuple[int, int]) -> Size:
    """What a layer gives, after its pooling."""
    sizes = (shape.height, shape.width), padding, (shape.kernel_height, shape.kernel_width)
    height, width = ((size + 2 * pad - kernel) // shape.stride + 1 for size, pad, kernel in zip(*sizes, strict=True))
    if shape.pool and min(height, width) > 1:
        height, width = height // 2, width // 2
    return shape.out_channels, height, width


def _padding(shape: LayerShape, after: Size | None) -> tuple[int, int]:
    """Zeros on each side that keep the size; none where only so the output is exactly what the next layer takes."""
    same = (shape.kernel_height - 1) // 2, (shape.kernel_width - 1) // 2
    if after is None or _exactly(_output(shape, same), after) or not _exactly(_output(shape, (0, 0)), after):
        return same
    return 0, 0


def _exactly(size: Size, wanted: Size) -> bool:
    return size == wanted or _flat(size, wanted)


def _flat(size: Size, wanted: Size) -> bool:
    return wanted == (size[0] * size[1] * size[2], 1, 1)


def _fits(size: Size, wanted: Size) -> bool:
    """True if `size` can be pooled or flattened to `wanted`."""
    pools = size[0] == wanted[0] and size[1] >= wanted[1] and size[2] >= wanted[2]
    return pools or _flat(size, wanted)


def _brought(x: Tensor, wanted: Size, linear: bool) -> Tensor:
    """`x` pooled to the size that a layer wants; without height and width for a linear one."""
    if x.dim() == 4 and x.shape[1] == wanted[0] and tuple(x.shape[2:]) != wanted[1:]:
        x = F.adaptive_avg_pool2d(x, 1) if wanted[1:] == (1, 1) else F.adaptive_max_pool2d(x, wanted[1:])
    return torch.flatten(x, 1) if linear else x


def _layer(shape: LayerShape, padding: tuple[int, int]) -> nn.Module:
    kernel = shape.kernel_height, shape.kernel_width
    if (shape.height, shape.width) == (1, 1) == kernel:
        return nn.Linear(shape.in_channels, shape.out_channels)
    return nn.Conv2d(shape.in_channels, shape.out_channels, kernel, shape.stride, padding)


def _words(size: Size) -> str:
    channels, height, width = size
    return f"{height} x {width} x {channels}"
