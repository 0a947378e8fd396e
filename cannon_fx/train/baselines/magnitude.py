"""Gradual magnitude pruning (Zhu & Gupta, 2017), of single weights or of whole connections, down to a budget."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cannon_fx.cost import Cost
from cannon_fx.counting import Counter
from cannon_fx.layer import Layer
from cannon_fx.modules import matrix_of, pattern_of
from cannon_fx.plans import Plan
from cannon_fx.train.baselines.descent import Descent
from cannon_fx.train.budget import Budget, measure
from cannon_fx.train.control import UPDATES

Unit = Literal["weight", "connection"]


class MagnitudeControl(Descent):
    """Removes the weakest units of all layers together; the strongest of each layer stays.

    At every update, a search finds the share of units that would have to go now to meet the budget; of that share,
    1 - (1 - t)^3 goes at time t of the descent, which is the method's cubic schedule, and at its end the budget is
    met. A unit's strength is the root mean square of its weights.
    """

    def __init__(self, plan: Plan, model: nn.Module, budget: Budget, steps: int, unit: Unit) -> None:
        self.counter, self.budget, self.steps, self.unit, self.step = Counter.of(plan), budget, steps, unit, 0
        self.model, self.limit = model, budget.limit(plan.cost())
        self.layers = plan.layers
        self.left = {layer.name: torch.ones_like(self._weight(layer), dtype=torch.bool) for layer in plan.layers}

    @torch.no_grad()
    def step_(self, optimizer: Optimizer) -> None:
        if not self.landed:
            self.step += 1
            if self.landed or self.step % max(1, self.steps // UPDATES) == 0:
                self._update()
        self._zero_()

    def cost(self) -> Cost:
        return self.counter.count(self.model)

    def _update(self) -> None:
        strengths = {layer.name: self._strengths(layer) for layer in self.layers}
        ordered = torch.cat([table.flatten() for table in strengths.values()]).sort().values
        # Of the weights between two channels, the strongest: it decides whether the one must reach the other.
        strongest = {
            name: table.reshape(*table.shape[:2], -1).amax(2).cpu().numpy() for name, table in strengths.items()
        }

        def fits(gone: int) -> bool:
            left = {name: table > _last(ordered, gone) for name, table in strongest.items()}
            return measure(self.budget.metric, self.counter.cost(left, 1.0)) <= self.limit

        low, high = 0, int(torch.isfinite(ordered).sum())
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle + 1, high)
        gone = math.ceil(low * (1 - (1 - self.step / self.steps) ** 3))
        for name, table in strengths.items():
            self.left[name] = table > _last(ordered, gone)

    def _strengths(self, layer: Layer) -> Tensor:
        """Shaped like the weight; all weights of a unit have the same."""
        weight = self._weight(layer).float()
        if self.unit == "weight":
            table = weight.abs()
        else:
            pattern = pattern_of(layer)
            count = torch.as_tensor(layer.weights_of_connection, dtype=weight.dtype, device=weight.device)
            root_mean_square = (pattern.sums(weight.square()) / count).sqrt()
            table = pattern.spread(root_mean_square).reshape(*weight.shape[:2], *(1,) * (weight.dim() - 2))
            table = table.expand_as(weight)
        return torch.where(table == table.max(), math.inf, table)

    def _zero_(self) -> None:
        """Back to zero, from where momentum has moved the weights that are gone."""
        for layer in self.layers:
            self._weight(layer).masked_fill_(~self.left[layer.name], 0)

    def _weight(self, layer: Layer) -> Tensor:
        """As [out, in, …]; a view."""
        return matrix_of(self.model.get_submodule(layer.name)).detach()

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "left": self.left}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.left = {name: left.to(self.left[name].device) for name, left in state["left"].items()}


def _last(ordered: Tensor, gone: int) -> float:
    """The strength of the last of the `gone` weakest; below all of them for none."""
    return float(ordered[gone - 1]) if gone else -1.0
