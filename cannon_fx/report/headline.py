"""What the page says first: which methods it compares, and one sentence that the numbers bear out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cannon_fx.report.numbers import column, known, percent, percent_decimals, quantity, ratio, times_less

MEASURES = {"energy": "energy_pj", "latency": "latency_cycles", "edp": "edp_pj_cycles"}


@dataclass(frozen=True)
class Pair:
    """The two methods of every before/after: `before` is 'dense', or None without one to compare."""

    before: str | None
    after: str


@dataclass(frozen=True)
class KeyNumber:
    """One of the large numbers under the headline; `tone` is 'good', 'bad' or 'even'."""

    name: str
    value: str
    detail: str
    tone: str


def choose_pair(methods: Mapping[str, Any]) -> Pair:
    """'cannon' is the after, else the last method that is not dense; dense, if it is there, the before."""
    if not methods:
        raise ValueError("the record has no methods, so there is nothing to report: run one method at least")
    others = [name for name in methods if name != "dense"]
    if not others:
        return Pair(None, "dense")
    after = "cannon" if "cannon" in others else others[-1]
    return Pair("dense" if "dense" in methods else None, after)


def headline(record: Mapping[str, Any]) -> str:
    """One sentence on energy and accuracy; it says so when accuracy falls or energy does not."""
    methods = record["methods"]
    pair = choose_pair(methods)
    after = methods[pair.after]
    if pair.before is None:
        accuracy = f" at {percent(after['accuracy'])} % accuracy" if known(after["accuracy"]) else ""
        missing = "nothing" if pair.after == "dense" else "no dense network"
        return (
            f"{pair.after}: {quantity(after['energy_pj'])} pJ of communication energy and "
            f"{quantity(after['latency_cycles'])} cycles of latency{accuracy}, with {missing} to compare with"
        )
    before = methods[pair.before]
    name = "" if pair.after == "cannon" else f"{pair.after}: "
    return name + _energy(before, after, bool(name)) + _accuracy(before, after)


def _energy(before: Mapping[str, Any], after: Mapping[str, Any], named: bool) -> str:
    change = ratio(before["energy_pj"], after["energy_pj"])
    times = times_less(before["energy_pj"], after["energy_pj"])
    if times is None:
        text = "communication energy was not computed"
    elif change == "same":
        text = "no less communication energy than dense"
    elif change == "none left":
        text = "no communication energy left"
    elif times > 1:
        text = f"{change} communication energy"
    else:
        amount = "communication energy where dense has none"
        text = f"{amount if times == 0 else f'{change} communication energy'}, not less,"
    return text if named else text[:1].upper() + text[1:]


def _accuracy(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    new, old = after["accuracy"], before["accuracy"]
    if not (known(new) and known(old)):
        return ", accuracy not measured"
    decimals = percent_decimals([new, old])
    text = f" at {percent(new, decimals)} % accuracy (dense: {percent(old, decimals)} %)"
    if new < old:
        text += f": accuracy falls by {percent(old - new, decimals)} points"
    return text


def key_numbers(record: Mapping[str, Any]) -> list[KeyNumber]:
    """Energy, latency, EDP and accuracy of the pair, for the row under the headline; empty without a pair."""
    methods = record["methods"]
    pair = choose_pair(methods)
    if pair.before is None:
        return []
    before, after = methods[pair.before], methods[pair.after]
    numbers = []
    for name, key, unit in (
        ("communication energy", "energy_pj", "pJ"),
        ("latency", "latency_cycles", "cycles"),
        ("EDP", "edp_pj_cycles", "pJ·cycles"),
    ):
        change = ratio(before[key], after[key])
        times = times_less(before[key], after[key])
        tone = "even" if times is None or change == "same" else "good" if times > 1 else "bad"
        detail = f"{' → '.join(column([before[key], after[key]]))} {unit}"
        numbers.append(KeyNumber(name, change, detail, tone))
    new, old = after["accuracy"], before["accuracy"]
    if known(new) and known(old):
        decimals = percent_decimals([new, old])
        sign = "+" if new > old else "\N{MINUS SIGN}" if new < old else "±"
        tone = "good" if new > old else "bad" if new < old else "even"
        detail = f"{percent(old, decimals)} → {percent(new, decimals)} %"
        change = f"{sign}{percent(abs(new - old), decimals)}"
        numbers.append(KeyNumber("accuracy, points", change, detail, tone))
    return numbers


def budget_factor(budget: object) -> tuple[str, float] | None:
    """'energy/3' as ('energy_pj', 3.0); None for a budget of any other form."""
    match = re.fullmatch(r"\s*(energy|latency|edp)\s*/\s*(\d+(?:\.\d+)?)x?\s*", str(budget or ""))
    if match is None or float(match[2]) == 0:
        return None
    return MEASURES[match[1]], float(match[2])


def budget_verdict(record: Mapping[str, Any]) -> str:
    """Whether the after keeps the budget that was asked for; '' where that cannot be told."""
    pair = choose_pair(record["methods"])
    factor = budget_factor(record.get("budget"))
    if pair.before is None or factor is None:
        return ""
    key, wanted = factor
    before, after = record["methods"][pair.before][key], record["methods"][pair.after][key]
    times = times_less(before, after)
    if times is None:
        return ""
    verdict = "met" if times >= wanted * (1 - 1e-9) else "not met"
    return f"Budget {record['budget']}: {verdict} ({ratio(before, after)})."
