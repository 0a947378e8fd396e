"""Landing on the budget: which units to keep so that the exact cost stays within the limit.

Units are taken in order of importance per price as long as the exact cost, whole flits and all, stays within the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cannon_fx.channels import pairs_of
from cannon_fx.cost import cost
from cannon_fx.counting import Counter
from cannon_fx.errors import InfeasibleError
from cannon_fx.plans import Plan
from cannon_fx.train.budget import UNIT, Metric, measure
from cannon_fx.train.unit_prices import Floats, unit_prices
from cannon_fx.train.units import Units

SLACK = 3e-3
"""Share of the limit that is not worth looking for units that fit into it."""

ROOM = 0.03
"""Share of the limit that is worth letting some units go for others."""

SWAPS = 8
"""Units that are let in though others have to go for them, each of another layer."""

TRIES = 32
"""Units that are tried for what is left of the limit."""

Kept = NDArray[np.bool_]
"""Which units are kept: bool [units]."""


def order_of(importance: Floats, price: Floats) -> Floats:
    """Importance per price, the order in which units are taken; what costs nothing comes first.

    Where nothing costs anything (a chip whose energies are zero), by importance alone.
    """
    if not price.any():
        return importance
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(price > 0, importance / price, math.inf)


def land(
    units: Units, order: Floats, price: Floats, kept: Kept, costs: Callable[[Kept], float], limit: float
) -> Kept | None:
    """Of the `kept` units, those first in `order` whose cost is at most `limit`, or all; None where none is.

    Every layer keeps the best unit that it reads. `price`, in any unit, says where to look first.
    """
    if costs(kept) <= limit:
        return kept
    best = best_of_layers(units, order, kept)
    rank = np.where(kept, order, -math.inf)
    first = np.lexsort((-rank, ~best))[: kept.sum()]
    spent, least = np.cumsum(price[first]), int(best.sum())

    def taken(count: int) -> Kept:
        found = np.zeros_like(kept)
        found[first[:count]] = True
        return found

    # The cost rises as units are added; whatever it does, what is taken fits. Prices add up to nearly the cost, so the
    # first guesses go where they say.
    low, high, scale, guesses = -1, len(first), 1.0, 4
    while high - low > 1:
        count, guesses = (low + high) // 2, guesses - 1
        if guesses >= 0:
            count = min(max(int(np.searchsorted(spent, limit / scale, "right")), low + 1), high - 1)
        value = costs(taken(count))
        if value > limit:
            high = count
        else:
            low = count
            if value >= (1 - SLACK) * limit:
                break
        scale = value / spent[count - 1] if count and min(spent[count - 1], value) > 0 else 1.0
    return taken(low) if low >= least else None


def best_of_layers(units: Units, order: Floats, kept: Kept) -> Kept:
    """The first of the `kept` units that each layer reads, if there are any."""
    rank, best = np.where(kept, order, -math.inf), np.zeros_like(kept)
    for layer in units.plan.layers:
        read = units.of_group[layer.name]
        best[read[rank[read].argmax()]] = True
    return best & kept


def fill(
    units: Units,
    order: Floats,
    price: Floats,
    found: Kept,
    given: Kept,
    costs: Callable[[Kept], float],
    limit: float,
) -> Kept:
    """Adds, best first, each of the `given` units that still fits, until next to nothing of the limit is left.

    No unit fits where each would need another row block. Then, as long as there is ROOM, the best unit of a layer comes
    all the same, and for it the least of all others go: using up what was asked for counts for more than importance,
    which is an estimate.
    """
    found, value = _filled(order, found, given, costs, limit)
    best = np.flatnonzero(best_of_layers(units, order, given & ~found))
    for unit in best[np.argsort(-order[best], kind="stable")][:SWAPS]:
        if value >= (1 - ROOM) * limit:
            break
        more, first = found.copy(), order.copy()
        more[unit], first[unit] = True, math.inf
        other = land(units, first, price, more, costs, limit)
        if other is not None:
            other, other_value = _filled(order, other, given, costs, limit)
            if other_value > value:
                found, value = other, other_value
    return found


def _filled(
    order: Floats, found: Kept, given: Kept, costs: Callable[[Kept], float], limit: float
) -> tuple[Kept, float]:
    """With those of the `given` units that fit, and the cost."""
    left, value = np.flatnonzero(given & ~found), costs(found)
    for unit in left[np.argsort(-order[left], kind="stable")][:TRIES]:
        if value >= (1 - SLACK) * limit:
            break
        more = found.copy()
        more[unit] = True
        if (with_it := costs(more)) <= limit:
            found, value = more, with_it
    return found, value


def foreseen(order: Floats, price: Floats, kept: Kept, share: float) -> Kept:
    """Which of the `kept` units would go if only `share` of the cost could stay, by their prices."""
    first = np.argsort(-np.where(kept, order, -math.inf), kind="stable")[: kept.sum()]
    spent, found = np.cumsum(price[first]), np.zeros_like(kept)
    found[first[spent > share * spent[-1]]] = True
    return found


def minimal(units: Units, counter: Counter, given: Kept) -> Kept:
    """Hardly any: from the last layer backwards, each reads the cheapest unit, or one that a later layer reads."""
    price = unit_prices(units, counter, pairs_of(units.plan.layers, units.plan.full()), "energy")
    price, kept = np.where(given, price, math.inf), np.zeros(units.count, np.bool_)
    for layer in reversed(units.plan.layers):
        read = units.of_group[layer.name]
        if not kept[read].any():
            kept[read[price[read].argmin()]] = True
    return kept & given


def check_feasible(plan: Plan, metric: Metric, limit: float) -> None:
    """Raises InfeasibleError, with the value of `minimal`, when that does not meet the limit."""
    counter = Counter.of(plan)
    units = Units.of(plan, counter.channels)
    keep = units.keep(minimal(units, counter, units.given(plan.keep())))
    pairs = pairs_of(plan.layers, {name: mask & plan.keep()[name] for name, mask in keep.items()})
    least = counter.compact(pairs).cost(pairs, 1.0)
    value = measure(metric, least)
    if value > limit:
        factor = measure(metric, cost(plan, plan.full())) / value
        fixed = least.of(kind="move").energy_pj / least.energy_pj if least.energy_pj else 0.0
        raise InfeasibleError(
            f"the budget of {limit:,.0f} {UNIT[metric]} for {metric} cannot be met: with hardly one channel group "
            f"left per layer the network still needs {value:,.0f} {UNIT[metric]} ({factor:.2f}x below dense; "
            f"{fixed:.0%} of its energy are other ops' moves, such as residual adds). Ask for at most "
            f"{metric}/{np.floor(100 * factor) / 100:.2f}, or take a chip with larger tiles."
        )
