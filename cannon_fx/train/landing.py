"""Landing on the budget: which connections to keep so that the exact cost stays within the limit.

Bundles of connections (see bundles.py) are taken in order of importance per price as long as the exact cost, whole
flits and all, stays within the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cannon_fx.cost import Prices, cost, layer_cost, prices, single_costs
from cannon_fx.errors import InfeasibleError
from cannon_fx.layer import Layer
from cannon_fx.plans import Keep, Plan
from cannon_fx.train.budget import UNIT, Metric, factors, measure
from cannon_fx.train.bundles import Bundles, Importance

SLACK = 1e-3
"""Share of the limit that is not worth looking for bundles that fit into it."""

Pricing = Literal["energy", "distance", "equal"]
"""What a method takes a connection to cost: its energy, the links it crosses, or the same for all (cost-blind)."""


def equal_prices(plan: Plan, layer: Layer) -> Prices:
    """Every connection costs the same."""
    return Prices(np.ones((layer.column_blocks, layer.groups)), np.zeros((layer.column_blocks, layer.row_blocks)))


def distance_prices(plan: Plan, layer: Layer) -> Prices:
    """A connection costs the links between its input's homes and its tile, on average over its elements."""
    network, node, source = plan.placed().network, plan.placed().node, plan.inputs[layer.name]
    target = layer.tile_of[layer.row_block_of[source.group]]  # [k, J]
    total, elements = np.zeros((layer.groups, layer.column_blocks)), np.zeros((layer.groups, 1))
    hops = np.where(source.home[:, None] == target, 0, network.hops(node[source.home][:, None], node[target]))
    np.add.at(total, source.group, hops * source.elements[:, None])
    np.add.at(elements, source.group, source.elements[:, None])
    return Prices((total / np.maximum(elements, 1)).T, np.zeros((layer.column_blocks, layer.row_blocks)))


PRICES: Mapping[Pricing, Callable[[Plan, Layer], Prices]] = {
    "energy": prices,
    "distance": distance_prices,
    "equal": equal_prices,
}


def price_list(plan: Plan, pricing: Pricing = "energy") -> dict[str, Prices]:
    """Per layer name, what connections are taken to cost."""
    return {layer.name: PRICES[pricing](plan, layer) for layer in plan.layers}


def minimal(plan: Plan, metric: Metric) -> dict[str, NDArray[np.bool_]]:
    """The cheapest masks that leave every layer alive: one connection each.

    Exact for energy and latency, which are sums over layers. An EDP is a product of sums: there, the cheapest of
    three choices (by energy, by latency, by their product).
    """

    def cheapest(by: Metric) -> dict[str, NDArray[np.bool_]]:
        keep = {}
        for layer in plan.layers:
            costs = np.ones((layer.column_blocks, layer.groups))
            if by != "latency":
                costs = costs * single_costs(plan, layer, "energy_pj")
            if by != "energy":
                costs = costs * single_costs(plan, layer, "latency_cycles")
            keep[layer.name] = np.arange(costs.size).reshape(costs.shape) == costs.argmin()
        return keep

    metrics: tuple[Metric, ...] = ("energy", "latency", "edp") if metric == "edp" else (metric,)
    return min(map(cheapest, metrics), key=lambda keep: measure(metric, cost(plan, keep)))


def check_feasible(plan: Plan, metric: Metric, limit: float) -> None:
    """Raises InfeasibleError, with the least reachable value, when no masks meet the limit."""
    least = cost(plan, minimal(plan, metric))
    value = measure(metric, least)
    if value > limit:
        dense = plan.cost()
        factor = measure(metric, dense) / value
        fixed = least.of(kind="move").energy_pj / least.energy_pj if least.energy_pj else 0.0
        raise InfeasibleError(
            f"the budget of {limit:,.0f} {UNIT[metric]} for {metric} cannot be met: with one connection left per "
            f"layer the network still needs {value:,.0f} {UNIT[metric]} ({factor:.2f}x below dense; {fixed:.0%} of its "
            f"energy are moves that no mask removes, such as residual adds). Ask for at most "
            f"{metric}/{np.floor(100 * factor) / 100:.2f}, or take a chip with larger tiles."
        )


def land(plan: Plan, priced: Mapping[str, Prices], importance: Importance, metric: Metric, limit: float) -> Keep:
    """Masks of the largest total importance, greedily, whose exact cost is at most `limit`.

    Every layer keeps at least its best bundle if the limit allows, else what `minimal` keeps.
    `priced` ranks (see price_list); whatever it says, the limit is met, if check_feasible says that it can.
    """
    bundles = Bundles.of(plan, priced, importance)
    # The cost rises as bundles are added (latency hardly ever falls); whatever it does, what is taken fits.
    low, high = 0, len(bundles)
    while low < high:
        middle = (low + high + 1) // 2
        fits = measure(metric, cost(plan, bundles.first(middle))) <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    if low < len(plan.layers):
        return _filled(plan, minimal(plan, metric), bundles, 0, metric, limit)
    return _filled(plan, bundles.first(low), bundles, low, metric, limit)


def _filled(
    plan: Plan, keep: dict[str, NDArray[np.bool_]], bundles: Bundles, start: int, metric: Metric, limit: float
) -> Keep:
    """Adds, in order, each bundle from `start` on that still fits, until next to nothing of the limit is left."""
    whole = factors(metric, cost(plan, keep))
    per_layer = {layer.name: factors(metric, layer_cost(plan, layer, keep[layer.name])) for layer in plan.layers}
    for number in range(start, len(bundles)):
        if math.prod(whole) >= (1 - SLACK) * limit:
            break
        layer, connections = bundles.bundle(number)
        candidate = keep[layer.name].copy()
        candidate.flat[connections] = True
        new = factors(metric, layer_cost(plan, layer, candidate))
        total = tuple(a + b - c for a, b, c in zip(whole, new, per_layer[layer.name], strict=True))
        if math.prod(total) <= limit:
            whole, keep[layer.name], per_layer[layer.name] = total, candidate, new
    return keep
