"""The regulariser: group lasso over connections, each weighted by what its communication costs.

P = strength x sum of price x sqrt(|W|) x ||W||_2 over connections. It is minimised by its proximal step (block
soft-threshold) after the optimiser's own step, never through the loss's gradient: only so do blocks reach exact
zero, and only so does a strength mean the same under SGD and under Adam, which would rescale the gradient
(as AdamW decouples weight decay).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from cannon_fx.cost import Prices
from cannon_fx.modules import BlockSparse
from cannon_fx.plans import Keep, Plan
from cannon_fx.train.ranks import agreed


def effective_rate(group: dict[str, Any]) -> float:
    """How far a constant gradient of 1 moves a weight per step; momentum adds up what it keeps.

    The proximal step uses it too: otherwise momentum would multiply the loss, but not the penalty.
    """
    rate: float = group["lr"] / (1 - group.get("momentum", 0.0) * (1 - group.get("dampening", 0.0)))
    return rate


class Penalty:
    """Prices are relative (their mean is 1) and every layer is measured against its own initial weight scale,
    so `strength` has no unit: 1 / (strength x rate) steps bring an average idle connection to zero.
    """

    def __init__(self, plan: Plan, modules: Mapping[str, BlockSparse], prices: Mapping[str, Prices]) -> None:
        self.plan, self.modules, self.prices = plan, modules, prices
        self.strength = 0.0
        self.factors: dict[str, Tensor] = {}
        scale = {name: float(module.weight.detach().square().mean().sqrt()) for name, module in modules.items()}
        self.scale = agreed(scale)
        self.reprice(plan.full())

    def reprice(self, keep: Keep) -> None:
        """Prices when only `keep` is left: a tile's partial sums are shared by the connections it still has."""
        relative = {
            layer.name: self.prices[layer.name].per_connection(layer, keep[layer.name]) for layer in self.plan.layers
        }
        mean = float(np.concatenate([price.ravel() for price in relative.values()]).mean()) or 1.0
        for layer in self.plan.layers:
            module = self.modules[layer.name]
            factor = relative[layer.name] / mean * self.scale[layer.name] * np.sqrt(layer.weights_of_connection)
            self.factors[layer.name] = torch.as_tensor(factor, dtype=torch.float32, device=module.weight.device)

    @torch.no_grad()
    def norms(self, name: str) -> Tensor:
        """||W_gj||_2, float [J, G]."""
        module = self.modules[name]
        return module.pattern.sums(module.matrix(module.weight).float().square()).sqrt()

    @torch.no_grad()
    def value(self) -> Tensor:
        """P, a scalar without gradient."""
        return self.strength * torch.stack([(self.factors[n] * self.norms(n)).sum() for n in self.modules]).sum()

    @torch.no_grad()
    def shrink_(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """The proximal step of P, with each weight's own learning rate; weights not in `optimizer` stay.

        Returns the norms afterwards.
        """
        rate = {id(p): effective_rate(group) for group in optimizer.param_groups for p in group["params"]}
        norms = {name: self.norms(name) for name in self.modules}
        for name, module in self.modules.items():
            if id(module.weight) not in rate:
                continue
            threshold = rate[id(module.weight)] * self.strength * self.factors[name]
            remaining = (1 - threshold / norms[name].clamp_min(1e-30)).clamp_min(0)
            norms[name] *= remaining
            spread = module.pattern.spread(remaining).to(module.weight.dtype)
            module.matrix(module.weight).mul_(spread.view(*spread.shape, *(1,) * (module.weight.dim() - 2)))
        return norms

    @torch.no_grad()
    def alive(self) -> Keep:
        """Connections that are not exactly zero."""
        return {name: (self.norms(name) > 0).cpu().numpy() for name in self.modules}

    def state_dict(self) -> dict[str, Any]:
        return {"strength": self.strength, "factors": self.factors, "scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.strength, self.scale = state["strength"], state["scale"]
        for name, value in self.factors.items():
            value.copy_(state["factors"][name])
