"""Numbers for people: thousands separators, percentages, and ratios that never claim too much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NOTHING = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SAME_WITHIN = 0.005  # two numbers closer than this share are called the same


def known(value: float | None) -> bool:
    """True for a finite number; the record has None where a number was not measured."""
    return value is not None and math.isfinite(value)


def quantity(value: float | None) -> str:
    """One number on its own, with about four significant digits."""
    return column([value])[0]


def column(values: Sequence[float | None]) -> list[str]:
    """Numbers that stand above each other: all with the same decimals, so that the digits line up."""
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v)]
    largest = max(sizes, default=0.0)
    whole = all(float(size).is_integer() for size in sizes)
    decimals = 0 if whole or largest >= 1000 else 1 if largest >= 100 else 2 if largest >= 10 else 3
    return [_one(value, largest, decimals) for value in values]


def _one(value: float | None, largest: float, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    if largest >= 1e9 or largest < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa} {TIMES} 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    smallest = 10.0**-decimals
    if abs(value) < smallest / 2:  # never print a number that is not zero as zero
        return f"<{smallest:.{decimals}f}"
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(fraction: float | None, decimals: int = 1) -> str:
    """0.988 as '98.8': the sign stands in the column's header or after the number."""
    if fraction is None or not math.isfinite(fraction):
        return NOTHING
    return f"{100 * fraction:.{decimals}f}"


def percent_decimals(fractions: Iterable[float | None]) -> int:
    """The fewest decimals (1 to 3) that still tell these fractions apart from each other and from 1."""
    distinct = {round(f, 7) for f in fractions if f is not None and math.isfinite(f)} | {1.0}
    for decimals in (1, 2):
        if len({percent(f, decimals) for f in distinct}) == len(distinct):
            return decimals
    return 3


def times_less(before: float | None, after: float | None) -> float | None:
    """before / after; infinity when nothing is left, None when either number is missing."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return None
    if after == 0:
        return 1.0 if before == 0 else math.inf
    return before / after


def ratio(before: float | None, after: float | None) -> str:
    """'3.02x less', '1.10x more', 'same'. A saving is rounded down and a loss up."""
    times = times_less(before, after)
    if times is None:
        return NOTHING
    if math.isinf(times):
        return "none left"
    if times == 0:
        return "up from zero"
    if abs(times - 1) <= SAME_WITHIN:
        return "same"
    # The small slack keeps 0.3 / 0.1 = 2.9999999999999996 from becoming 2.99.
    if times > 1:
        return f"{math.floor(100 * times * (1 + 1e-12)) / 100:,.2f}x less"
    return f"{math.ceil(100 / times * (1 - 1e-12)) / 100:,.2f}x more"
