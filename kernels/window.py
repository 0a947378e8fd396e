"""Stride, padding, dilation and groups of a convolution, and the sizes that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """How the taps [R, S] of a convolution lie on its input."""

    taps: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @classmethod
    def of(
        cls,
        taps: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Window:
        """From lists, as the raw ops get them."""
        (r, s), (stride_h, stride_w), (padding_h, padding_w), (step_h, step_w) = taps, stride, padding, dilation
        return cls((r, s), (stride_h, stride_w), (padding_h, padding_w), (step_h, step_w), groups)

    def check(self, out_channels: int) -> None:
        """Raises ValueError when a value makes no sense."""
        if min(*self.taps, *self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise ValueError(f"taps, stride, dilation and groups must be positive and padding not negative: {self}")
        if out_channels % self.groups:
            raise ValueError(f"{out_channels} output channels do not part into {self.groups} groups")

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """(OH, OW)."""
        sizes = zip((height, width), self.taps, self.stride, self.padding, self.dilation, strict=True)
        out = [(n + 2 * pad - step * (tap - 1) - 1) // stride + 1 for n, tap, stride, pad, step in sizes]
        return out[0], out[1]

    @property
    def pointwise(self) -> bool:
        """Whether every output position reads its own input position alone: a linear layer."""
        return self.taps == self.stride == (1, 1) and self.padding == (0, 0)


def empty_image(like: Tensor, *shape: int) -> Tensor:
    """[N, C, H, W] in channels_last, as all images are given back, with the dtype and device of `like`."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
