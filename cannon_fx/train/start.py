"""From a method's name to the control that trains by it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from cannon_fx.applied import AppliedPlan
from cannon_fx.methods import Method
from cannon_fx.plans import Plan
from cannon_fx.train.baselines.filters import FilterControl, Ranking
from cannon_fx.train.baselines.magnitude import MagnitudeControl, Unit
from cannon_fx.train.budget import Budget
from cannon_fx.train.protocol import Control
from cannon_fx.train.unit_prices import Pricing

PRICING: dict[Method, Pricing] = {"cost-blind": "equal", "distance": "distance", "cannon": "energy"}
UNIT: dict[Method, Unit] = {"unstructured": "weight", "block-magnitude": "connection"}
RANKING: dict[Method, Ranking] = {"filter-l1": "l1", "depgraph": "depgraph"}


def starter(
    method: Method,
    network: nn.Module,
    plan: Plan,
    budget: Budget,
    replan: Callable[[nn.Module], Plan],
    sample: Tensor,
) -> Callable[[int], Control] | None:
    """What Training's `start` is for `method`; None for plain training.

    `plan` is the network's, applied for the methods of PRICING. `replan` maps a network that has become smaller.
    """

    def start(steps: int) -> Control:
        if method in PRICING:
            assert isinstance(plan, AppliedPlan)
            return plan.set_budget(budget, steps, pricing=PRICING[method])
        if method in UNIT:
            return MagnitudeControl(plan, network, budget, steps, UNIT[method])
        return FilterControl(network, replan, sample, budget.limit(plan.cost()), budget, steps, RANKING[method])

    return None if method == "dense" else start
