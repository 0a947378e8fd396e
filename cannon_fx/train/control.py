"""Budget control: a target that falls from dense to the budget, met by cutting units and prepared by the penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from cannon_fx.channels import Pairs, pairs_of
from cannon_fx.cost import Cost, cost
from cannon_fx.counting import Counter
from cannon_fx.errors import RunError
from cannon_fx.modules import BlockSparse
from cannon_fx.plans import Keep, Plan
from cannon_fx.train.budget import Budget, measure
from cannon_fx.train.cliffs import Cliff, before_cliffs, cliffs
from cannon_fx.train.landing import Kept, check_feasible, fill, foreseen, land, minimal, order_of
from cannon_fx.train.penalty import Penalty
from cannon_fx.train.ranks import first
from cannon_fx.train.unit_prices import Floats, Pricing, unit_prices
from cannon_fx.train.units import Units

UPDATES = 50
"""Updates of masks, prices and penalty over the whole descent."""

MAPPINGS = 25
"""How often in it what is left is mapped and placed anew, besides when a cliff has been passed."""

HORIZON = 0.1
"""Share of the descent that the penalty looks ahead."""

MEMORY = 0.05
"""Weight of the newest minibatch in the running importance."""


class BudgetControl:
    """Brings the cost from dense to the budget in `steps` optimiser steps, then leaves the masks as they are.

    At every update the knapsack lands on the target of that moment, which falls geometrically (a tenth less is as hard
    at any size); in between, the penalty fades what will have to go next. Now and then the network that is left is
    mapped anew, on fewer tiles, and priced anew; the budget is met on its last mapping, the one that `cost()` prices.
    The processes of torch.distributed, if there are several, all take rank 0's decisions.
    Raises InfeasibleError when no masks meet the budget, RunError without steps or with a frozen or sharded layer.
    """

    def __init__(
        self, plan: Plan, modules: Mapping[str, BlockSparse], budget: Budget, steps: int, pricing: Pricing = "energy"
    ) -> None:
        self.plan, self.modules, self.budget, self.steps, self.pricing = plan, modules, budget, steps, pricing
        if steps < 1:
            raise RunError(f"a descent of {steps} steps is none: give at least one optimiser step.")
        if frozen := [name for name, module in modules.items() if not module.weight.requires_grad]:
            raise RunError(
                f"layer {frozen[0]!r} is frozen (requires_grad is False), so nobody can tell which of its channels "
                "matter. Unfreeze it, or leave it out with ignore when you call apply_cannon."
            )
        self._check_whole()
        dense = cost(plan, plan.full())
        self.dense, self.limit = measure(budget.metric, dense), budget.limit(dense)
        check_feasible(plan, budget.metric, self.limit)
        self.whole = self.counter = Counter.of(plan)
        self.units = Units.of(plan, self.whole.channels)
        self.given = {name: module.pattern.keep.numpy() for name, module in modules.items()}
        self.given_units = self.units.given(self.given)
        self.kept = self.mapped = self.given_units
        if not all(keep.all() for keep in self.given.values()):
            self._map()
        self.penalty = Penalty(self.units, modules)
        self.step = 0
        self.importance = torch.zeros(self.units.count, dtype=torch.float64)
        self.price = np.zeros(self.units.count)

    @property
    def landed(self) -> bool:
        """True once the masks are final."""
        return self.step >= self.steps

    @property
    def strength(self) -> float:
        """Of the penalty."""
        return self.penalty.strength

    def cost(self) -> Cost:
        """Of what is left, on the tiles that it has been mapped to last."""
        pairs = self._pairs(self.kept)
        return self.counter.cost(pairs, self.whole.density(pairs))

    def regularizer(self) -> torch.Tensor:
        """The penalty's value, without gradient (step_ minimises it); 0 once landed."""
        return torch.zeros(()) if self.landed else self.penalty.value()

    def step_(self, optimizer: Optimizer) -> None:
        """To be called after `optimizer.step()`, before the gradients are cleared."""
        self._check_whole()
        if not self.landed:
            self._observe()
            self.penalty.shrink_(optimizer)
            self.step += 1
            if self.landed or self.step % max(1, self.steps // UPDATES) == 0:
                self._update(optimizer)
                return
        for module in self.modules.values():
            module.zero_cut_()

    def _check_whole(self) -> None:
        for name, module in self.modules.items():
            if hasattr(module.weight, "device_mesh"):  # a DTensor; importing its class takes long
                raise RunError(
                    f"layer {name!r} is sharded: every process holds a part of its weight, and no unit's "
                    "importance can be told from a part. Use DistributedDataParallel instead of fully_shard."
                )

    @torch.no_grad()
    def _observe(self) -> None:
        """Running mean of (sum of weight x gradient)^2 per unit: how much the loss would change without it.

        Of a unit that has been cut, what was known last.
        """
        gradients = {name: module.weight.grad for name, module in self.modules.items()}
        if all(gradient is None for gradient in gradients.values()):
            raise RunError("step_ found no gradients: call it after optimizer.step() and before zero_grad().")
        change = torch.zeros(self.units.count, dtype=torch.float64)
        for name, gradient in gradients.items():
            if gradient is not None:
                module = self.modules[name]
                sums = module.pattern.sums(module.matrix(module.weight.float() * gradient.float())).sum(0)
                change.index_add_(0, torch.from_numpy(self.units.of_group[name]), sums.double().cpu())
        change = change.square()
        # Mixed precision skips steps whose gradients overflow; they say nothing about importance.
        known = change.isfinite() & torch.from_numpy(self.kept)
        self.importance.lerp_(torch.where(known, change, self.importance), max(MEMORY, 1 / (self.step + 1)))

    def _update(self, optimizer: Optimizer) -> None:
        if not self.importance.any() and not self.landed:
            return  # nothing is known yet: mixed precision's first steps may all overflow
        self.kept, fading, self.price, passed = first(self._decide)
        self._cut()
        self.penalty.fade(fading, self.penalty.strength_for(optimizer, max(1.0, HORIZON * self.steps)))
        due = self.step * MAPPINGS // self.steps > (self.step - self._interval) * MAPPINGS // self.steps
        if due or passed or self.landed:
            self._map()

    @property
    def _interval(self) -> int:
        return max(1, self.steps // UPDATES)

    def _map(self) -> None:
        self.mapped, self.counter = self.kept, self.whole.compact(self._pairs(self.kept))

    def _decide(self) -> tuple[Kept, Kept, Floats, bool]:
        """Which units are kept, which of them will go within a horizon, all prices, and whether a cliff is passed."""
        pairs = self._pairs(self.kept)
        now = unit_prices(self.units, self.counter, pairs, self.pricing)
        price = np.where(self.kept, now, self.price)
        order, target = order_of(self.importance.numpy(), price), self._target(self.step)
        ahead: list[Cliff] = []
        if self.pricing == "energy":
            ahead = list(cliffs(self.units, self.counter, pairs))
            order = before_cliffs(order, self.importance.numpy(), price, ahead)
        costs = self._remapped if self.step >= (1 - HORIZON) * self.steps else partial(self._now, ahead)
        found = land(self.units, order, price, self.kept, costs, target)
        if found is None:
            found = minimal(self.units, self.whole, self.given_units)
        if self.landed:
            # What was cut may return: a mapping on fewer tiles can leave room for it.
            found = fill(self.units, order, price, found, self.given_units, costs, target)
            return found, np.zeros_like(found), price, False
        later = self._target(self.step + HORIZON * self.steps)
        fading = foreseen(order, price, found, later / target if target else 1.0)
        return found, fading, price, any(cliff.passed(found) for cliff in ahead)

    def _now(self, ahead: list[Cliff], kept: Kept) -> float:
        """What these would cost where they are, less what will have ended with the cliffs that are passed by then."""
        sums = self.counter.cost(self._pairs(kept), 1.0).of()
        ended_pj = sum(cliff.saved_pj for cliff in ahead if cliff.passed(kept))
        return measure(self.budget.metric, replace(sums, energy_pj=sums.energy_pj - ended_pj))

    def _remapped(self, kept: Kept) -> float:
        """What they would cost mapped anew: takes long, but cuts no more than has to go."""
        pairs = self._pairs(kept)
        return measure(self.budget.metric, self.whole.compact(pairs).cost(pairs, 1.0))

    def _target(self, step: float) -> float:
        if self.dense == 0:  # a chip whose energies are zero
            return 0.0
        return self.dense * (self.limit / self.dense) ** min(1.0, step / self.steps)

    def _keep(self, kept: Kept) -> Keep:
        """The connections of these units, of those that there were at the start."""
        return {name: keep & self.given[name] for name, keep in self.units.keep(kept).items()}

    def _pairs(self, kept: Kept) -> Pairs:
        return pairs_of(self.plan.layers, self._keep(kept))

    def _cut(self) -> None:
        """Cuts all others, and the column blocks that nobody needs."""
        kept = self._keep(self.kept)
        needed = self.whole.needed_pairs(pairs_of(self.plan.layers, kept))
        for layer in self.plan.layers:
            blocks = np.logical_or.reduceat(needed[layer.name].any(1), np.arange(layer.column_blocks) * layer.out_block)
            self.modules[layer.name].cut(torch.from_numpy(kept[layer.name] & blocks[:, None]))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "step": self.step,
            "importance": self.importance,
            "price": torch.from_numpy(self.price),
            "penalty": self.penalty.state_dict(),
            "kept": torch.from_numpy(self.kept),
            "mapped": torch.from_numpy(self.mapped),
            "was mapped": self.counter is not self.whole,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` was called; call it before the model's own weights are loaded."""
        self.step = state["step"]
        self.importance.copy_(state["importance"])
        self.price = state["price"].cpu().numpy()
        self.penalty.load_state_dict(state["penalty"])
        if state["was mapped"]:
            self.kept = state["mapped"].cpu().numpy()
            self._map()
        self.kept = state["kept"].cpu().numpy()
        self._cut()
