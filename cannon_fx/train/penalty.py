"""The regulariser: what the budget will cost next fades before it is cut.

P = strength / 2 x sum of ||W_u||^2 over the units that the target one horizon ahead leaves out, W_u being all weights
that read the unit's channels. It is minimised by its proximal step after the optimiser's own step, never through the
loss's gradient: only so does a strength mean the same under SGD and under Adam, which would rescale the gradient (as
AdamW decouples weight decay).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from cannon_fx.modules import BlockSparse
from cannon_fx.train.units import Units

FADING = 2.0
"""Alone, the penalty shrinks weights over one horizon to about exp(-FADING)."""


def effective_rate(group: dict[str, Any]) -> float:
    """How far a constant gradient of 1 moves a weight per step; momentum adds up what it keeps.

    The proximal step uses it too: otherwise momentum would multiply the loss, but not the penalty.
    """
    rate: float = group["lr"] / (1 - group.get("momentum", 0.0) * (1 - group.get("dampening", 0.0)))
    return rate


class Penalty:
    """Nothing fades at first."""

    def __init__(self, units: Units, modules: Mapping[str, BlockSparse]) -> None:
        self.units, self.modules = units, modules
        self.fade(np.zeros(units.count, np.bool_), 0.0)

    def fade(self, fading: NDArray[np.bool_], strength: float) -> None:
        """From now on these units, bool [units]."""
        self.fading, self.strength = fading, strength
        self.channels = {}
        """Per layer name, the input channels that fade, bool [C]; layers without any are left out"""
        for name, module in self.modules.items():
            groups = fading[self.units.of_group[name]]
            if groups.any():
                channels = torch.from_numpy(groups.repeat(module.pattern.group_size)[: module.pattern.in_channels])
                self.channels[name] = channels.to(module.weight.device)

    def strength_for(self, optimizer: Optimizer, steps: float) -> float:
        """The strength under which `steps` steps at the present learning rate nearly take weights away."""
        weights = {id(module.weight) for module in self.modules.values()}
        rates = [effective_rate(g) for g in optimizer.param_groups if any(id(p) in weights for p in g["params"])]
        rate = max(rates, default=0.0)
        return FADING / (steps * rate) if rate else 0.0

    @torch.no_grad()
    def value(self) -> Tensor:
        """P, a scalar without gradient."""
        squares = [
            (self.modules[name].matrix(self.modules[name].weight)[:, channels].float().square()).sum()
            for name, channels in self.channels.items()
        ]
        return self.strength / 2 * torch.stack(squares).sum() if squares else torch.zeros(())

    @torch.no_grad()
    def shrink_(self, optimizer: Optimizer) -> None:
        """The proximal step of P, with each weight's own learning rate; weights not in `optimizer` stay."""
        rate = {id(p): effective_rate(group) for group in optimizer.param_groups for p in group["params"]}
        for name, channels in self.channels.items():
            weight = self.modules[name].weight
            if id(weight) in rate:
                factor = torch.where(channels, 1 / (1 + rate[id(weight)] * self.strength), 1.0).to(weight.dtype)
                self.modules[name].matrix(weight).mul_(factor.view(-1, *(1,) * (weight.dim() - 2)))

    def state_dict(self) -> dict[str, Any]:
        return {"strength": self.strength, "fading": torch.from_numpy(self.fading)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.fade(state["fading"].cpu().numpy(), state["strength"])
