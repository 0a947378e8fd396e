"""A plan bound to the network it was applied to: masks, costs as they are now, and the two lines of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.optim import Optimizer

from cannon_fx.channels import pairs_of
from cannon_fx.cost import Cost
from cannon_fx.counting import Counter
from cannon_fx.coverage import coverage
from cannon_fx.errors import InfeasibleError, MappingError
from cannon_fx.hw.communication import LatencyModel
from cannon_fx.modules import BlockSparse
from cannon_fx.plans import Plan
from cannon_fx.save import save
from cannon_fx.train.budget import Budget
from cannon_fx.train.control import BudgetControl
from cannon_fx.train.unit_prices import Pricing
from cannon_fx.wrappers import unwrapped

if TYPE_CHECKING:
    import sympy


@dataclass(frozen=True, eq=False)
class AppliedPlan(Plan):
    """What `apply_cannon` returns.

    In your own training loop::

        result.set_budget("energy/3", steps=2000)
        for x, y in loader:
            loss = task(model(x), y) + result.regularizer()
            loss.backward()
            optimizer.step()
            result.step_(optimizer)
            optimizer.zero_grad()

    After `steps` steps the masks have landed on the budget and stay as they are; going on is fine-tuning.
    """

    modules: Mapping[str, BlockSparse] = field(default_factory=dict)
    model: Callable[[], nn.Module | None] = lambda: None
    _control: list[BudgetControl] = field(default_factory=list)  # none or one: a plan itself is frozen

    @classmethod
    def bind(cls, plan: Plan, model: nn.Module, modules: Mapping[str, BlockSparse]) -> AppliedPlan:
        """`plan` for `model`, whose layers have become `modules`; `applied_plan(model)` finds it from now on."""
        applied = cls(**{f.name: getattr(plan, f.name) for f in fields(Plan)}, modules=modules, model=ref(model))
        _APPLIED[model] = applied
        return applied

    def keep(self) -> dict[str, NDArray[np.bool_]]:
        """The connections that are kept now, per layer name: bool [J, G]."""
        return {name: module.pattern.keep.numpy() for name, module in self.modules.items()}

    @property
    def uncut(self) -> bool:
        """True as long as every connection is kept."""
        return all(module.dense for module in self.modules.values())

    def remapped(self) -> Plan:
        """What is left, mapped and placed anew on fewer tiles, without the channels that nobody needs any more.

        The plan itself, as long as nothing is cut. This is what `cost`, `summary`, `annotated`, `graph_module` and
        `energy_formula` are about; where sizes are open, annotations are formulas for the tiles as they were.
        """
        return self._remapped()[0]

    def _remapped(self) -> tuple[Plan, float]:
        """With the density."""
        if self.uncut:
            return self.alone(), 1.0
        counter, pairs = Counter.of(self), pairs_of(self.layers, self.keep())
        return counter.compact(pairs).kept_plan(pairs), counter.density(pairs)

    def cost(self, latency_model: LatencyModel = "analytic") -> Cost:
        """The communication cost of one inference by what is left, remapped; its density, by the weights needed."""
        left, density = self._remapped()
        return replace(left.cost(latency_model), density=density)

    @property
    def annotated(self) -> ExportedProgram:
        """As a plan's, of what is left, remapped; with open sizes, of the tiles as they were."""
        return super().annotated if self.dynamic else self.remapped().annotated

    def energy_formula(self) -> sympy.Expr:
        """As a plan's, of what is left, remapped."""
        return self.remapped().energy_formula()

    def summary(self, width: int = 110, latency_model: LatencyModel = "analytic") -> str:
        """As a plan's, of what is left, remapped."""
        from cannon_fx.summary import summary  # which itself reads plans

        left = self.remapped()
        return summary(left, left.cost(latency_model), width, coverage(self))

    def save(self, folder: str | Path, packed: bool = False) -> Path:
        """Writes weights.safetensors, with this plan in it, into `folder`; see cannon_fx.load.

        `packed` writes packed.safetensors instead, where a cut layer's weight is its kept blocks alone.
        """
        model = self.model()
        if model is None:
            raise MappingError("the network of this plan no longer exists; keep a reference to it and save again.")
        return save(model, self, folder, packed)

    def set_budget(self, budget: str | Budget, steps: int, *, pricing: Pricing = "energy") -> BudgetControl:
        """Starts a descent to `budget` over `steps` optimiser steps.

        `pricing` is what units are taken to cost; all but "energy" are baselines. Before anything changes, raises
        InfeasibleError for a budget that no masks meet or a plan without layers, and RunError for `steps` below 1 or a
        frozen layer.
        """
        if not self.modules:
            raise InfeasibleError(
                "nothing of this network is mapped onto the chip, so nothing can be cut: plan.summary() says why."
            )
        parsed = Budget.parse(budget) if isinstance(budget, str) else budget
        self._control[:] = [BudgetControl(self, self.modules, parsed, steps, pricing)]
        return self._control[0]

    @property
    def control(self) -> BudgetControl:
        """The descent that is under way. Raises MappingError when none was started."""
        if not self._control:
            raise MappingError("no budget was set: call set_budget('energy/3', steps=...) before training.")
        return self._control[0]

    def regularizer(self) -> Tensor:
        """The communication penalty, so that the loss is the whole objective; 0 once the masks have landed.

        It carries no gradient: `step_` minimises it exactly, by its proximal step, whatever the optimiser.
        """
        return self.control.regularizer()

    def step_(self, optimizer: Optimizer) -> None:
        """Call after `optimizer.step()` and before `zero_grad()`: penalty, budget control, masks."""
        self.control.step_(optimizer)


_APPLIED: WeakKeyDictionary[nn.Module, AppliedPlan] = WeakKeyDictionary()


def find_applied_plan(model: nn.Module) -> AppliedPlan | None:
    """The plan that was applied to `model`, compiled or wrapped for parallel training as it may be."""
    return _APPLIED.get(unwrapped(model))


def plan_behind(tensors: Iterable[object]) -> AppliedPlan | None:
    """The plan that was applied to the network with these parameters among others."""
    known = set(map(id, tensors))
    plans = (plan for plan in _APPLIED.values() if any(id(module.weight) in known for module in plan.modules.values()))
    return next(plans, None)


def applied_plan(model: nn.Module) -> AppliedPlan:
    """The same. Raises MappingError when there is none."""
    if found := find_applied_plan(model):
        return found
    raise MappingError(f"{type(model).__name__} holds no block-sparse layers: call apply_cannon(model, …) first.")
