"""Budget control: a target that falls from dense to the budget, met by cutting and prepared by the penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer

from cannon_fx.cost import Cost, cost
from cannon_fx.errors import RunError
from cannon_fx.modules import BlockSparse
from cannon_fx.plans import Keep, Plan
from cannon_fx.train.budget import Budget, measure
from cannon_fx.train.landing import Pricing, check_feasible, land, price_list
from cannon_fx.train.penalty import Penalty, effective_rate
from cannon_fx.train.ranks import first

UPDATES = 50
"""Updates of masks, prices and strength over the whole descent."""

HORIZON = 0.1
"""Share of the descent that the strength looks ahead."""

MEMORY = 0.05
"""Weight of the newest minibatch in the running importance."""


class BudgetControl:
    """Brings the cost from dense to the budget in `steps` optimiser steps, then leaves the masks as they are.

    At every update the knapsack lands on the target of that moment, which falls geometrically (a tenth less is
    as hard at any size). In between, the penalty shrinks what will have to go next. Its strength is the
    multiplier of the constraint "cost <= target, one horizon ahead", solved anew at every update.
    The processes of torch.distributed, if there are several, all take rank 0's decisions.
    Raises InfeasibleError when no masks meet the budget, RunError without steps or with a frozen or sharded layer.
    """

    def __init__(
        self, plan: Plan, modules: Mapping[str, BlockSparse], budget: Budget, steps: int, pricing: Pricing = "energy"
    ) -> None:
        self.plan, self.modules, self.budget, self.steps = plan, modules, budget, steps
        if steps < 1:
            raise RunError(f"a descent of {steps} steps is none: give at least one optimiser step.")
        if frozen := [name for name, module in modules.items() if not module.weight.requires_grad]:
            raise RunError(
                f"layer {frozen[0]!r} is frozen (requires_grad is False), so nobody can tell which of its connections "
                "matter. Unfreeze it, or leave it out with ignore when you call apply_cannon."
            )
        self._check_whole()
        dense = cost(plan, plan.full())
        self.dense, self.limit = self._measure(dense), budget.limit(dense)
        check_feasible(plan, budget.metric, self.limit)
        self.prices = price_list(plan, pricing)
        self.penalty = Penalty(plan, modules, self.prices)
        self.step = 0
        self.taylor = {name: torch.zeros(m.pattern.shape, device=m.weight.device) for name, m in modules.items()}

    @property
    def landed(self) -> bool:
        """True once the masks are final."""
        return self.step >= self.steps

    @property
    def strength(self) -> float:
        """Of the penalty."""
        return self.penalty.strength

    def cost(self) -> Cost:
        """Without the connections that are exactly zero now, cut or not."""
        alive = self.penalty.alive()
        return cost(self.plan, {name: m.pattern.keep.numpy() & alive[name] for name, m in self.modules.items()})

    def regularizer(self) -> torch.Tensor:
        """The penalty's value, without gradient (step_ minimises it); 0 once landed."""
        return torch.zeros(()) if self.landed else self.penalty.value()

    def step_(self, optimizer: Optimizer) -> None:
        """To be called after `optimizer.step()`, before the gradients are cleared."""
        self._check_whole()
        if not self.landed:
            self._observe()
            norms = self.penalty.shrink_(optimizer)
            self.step += 1
            if self.landed or self.step % max(1, self.steps // UPDATES) == 0:
                self._update(optimizer, {name: value.cpu().numpy() for name, value in norms.items()})
                return
        for module in self.modules.values():
            module.zero_cut_()

    def _check_whole(self) -> None:
        for name, module in self.modules.items():
            if hasattr(module.weight, "device_mesh"):  # a DTensor; importing its class takes long
                raise RunError(
                    f"layer {name!r} is sharded: every process holds a part of its weight, and no connection's norm or "
                    "importance can be told from a part. Use DistributedDataParallel instead of fully_shard."
                )

    @torch.no_grad()
    def _observe(self) -> None:
        """Running mean of (sum of weight x gradient)^2 per connection: how much the loss would change without it."""
        gradients = {name: module.weight.grad for name, module in self.modules.items()}
        if all(gradient is None for gradient in gradients.values()):
            raise RunError("step_ found no gradients: call it after optimizer.step() and before zero_grad().")
        for name, gradient in gradients.items():
            if gradient is not None:
                module = self.modules[name]
                change = module.pattern.sums(module.matrix(module.weight.float() * gradient.float())).square()
                # Mixed precision skips steps whose gradients overflow; they say nothing about importance.
                known = torch.where(torch.isfinite(change), change, self.taylor[name])
                self.taylor[name].lerp_(known, MEMORY)

    def _update(self, optimizer: Optimizer, norms: Mapping[str, NDArray[np.float32]]) -> None:
        target = self._target(self.step)
        importance = {name: value.double().cpu().numpy() * (norms[name] > 0) for name, value in self.taylor.items()}
        keep = first(lambda: land(self.plan, self.prices, importance, self.budget.metric, target))
        for name, module in self.modules.items():
            module.cut(torch.from_numpy(keep[name]))
        if not self.landed:
            self.penalty.reprice(keep)
            self.penalty.strength = first(lambda: self._multiplier(keep, norms, optimizer))

    def _target(self, step: float) -> float:
        if self.dense == 0:  # a chip whose energies are zero
            return 0.0
        return self.dense * (self.limit / self.dense) ** min(1.0, step / self.steps)

    def _multiplier(self, keep: Keep, norms: Mapping[str, NDArray[np.float32]], optimizer: Optimizer) -> float:
        """The strength under which the penalty alone would meet the target one horizon ahead.

        Alone, it takes norm / (rate x strength x factor) steps to bring a connection to zero, so those with the
        smallest norm / factor go first; how far down that order the target lies decides the strength.
        """
        horizon = max(1.0, HORIZON * self.steps)
        target = self._target(self.step + horizon)
        lasting = {
            name: norms[name] / self.penalty.factors[name].clamp_min(1e-30).cpu().numpy() * keep[name]
            for name in self.modules
        }
        ordered = np.unique(np.concatenate([values.ravel() for values in lasting.values()]))
        low, high = 0, len(ordered) - 1
        while low < high:
            middle = (low + high) // 2
            left = {name: values > ordered[middle] for name, values in lasting.items()}
            low, high = (low, middle) if self._measure(cost(self.plan, left)) <= target else (middle + 1, high)
        weights = {id(module.weight) for module in self.modules.values()}
        rates = [effective_rate(g) for g in optimizer.param_groups if any(id(p) in weights for p in g["params"])]
        rate = max(rates, default=0.0)
        return float(ordered[low]) / (horizon * rate) if rate else 0.0

    def _measure(self, cost: Cost) -> float:
        return measure(self.budget.metric, cost)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "step": self.step,
            "taylor": self.taylor,
            "penalty": self.penalty.state_dict(),
            "keep": {name: module.pattern.keep for name, module in self.modules.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called; call it before the model's own weights are loaded."""
        self.step = state["step"]
        for name, value in self.taylor.items():
            value.copy_(state["taylor"][name])
        self.penalty.load_state_dict(state["penalty"])
        for name, module in self.modules.items():
            module.cut(state["keep"][name])
