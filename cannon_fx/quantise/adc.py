"""What an ADC makes of a column's sum: the nearest of 2^bits levels, and the highest for all that is above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cannon_fx.hw.arrays import Floats

STEPS = 64
"""Widths of a level that are tried for each slice."""


@dataclass(frozen=True, eq=False)
class Adc:
    """Level k of a column of slice s stands for the sum k x step[s]; `step` is float64 [S], at least 1."""

    levels: int
    step: Tensor

    def __call__(self, sums: Tensor) -> Tensor:
        """The levels that sums [..., S, P] become, as whole numbers; in place."""
        return sums.div_(self.step.float()[:, None]).round_().clamp_(max=self.levels - 1)

    @classmethod
    def fit(cls, bits: int, seen: Floats, device: torch.device) -> Adc:
        """The steps of least squared error over `seen` [S, M + 1]: how much each sum 0 … M of each slice counts."""
        levels, sums = 2**bits, np.arange(seen.shape[1])
        steps = np.geomspace(1.0, max(1.0, sums[-1] / (levels - 1)), STEPS)
        read = np.minimum(np.round(sums / steps[:, None]), levels - 1) * steps[:, None]
        error = seen @ ((read - sums) ** 2).T  # [S, STEPS]
        return cls(levels, torch.from_numpy(steps[error.argmin(1)]).to(device))
