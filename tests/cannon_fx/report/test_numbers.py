"""Numbers for people: ratios never claim too much."""

from __future__ import annotations

import pytest

from cannon_fx.report.numbers import NOTHING, TIMES, column, percent, percent_decimals, quantity, ratio


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (3.0, 1.0, "3.00x less"),
        (0.3, 0.1, "3.00x less"),
        (2.999, 1.0, "2.99x less"),  # never rounded up
        (1.0, 1.101, "1.11x more"),  # a loss is never rounded down
        (12345.0, 1.0, "12,345.00x less"),
        (1.0, 1.0, "same"),
        (1.0, 0.999, "same"),
        (0.0, 0.0, "same"),
        (5.0, 0.0, "none left"),
        (0.0, 5.0, "up from zero"),
        (None, 1.0, NOTHING),
        (1.0, float("nan"), NOTHING),
    ],
)
def test_ratio(before: float | None, after: float | None, text: str) -> None:
    assert ratio(before, after) == text


def test_numbers_line_up_and_never_show_something_as_zero() -> None:
    assert column([1234567.8, 0.2, 0.0, None]) == ["1,234,568", "<1", "0", NOTHING]
    assert column([12.346, 1.0]) == ["12.35", "1.00"]
    assert column([3, 12]) == ["3", "12"]
    assert quantity(1.5e11) == f"1.50 {TIMES} 10¹¹"
    assert quantity(2e-5) == f"2.00 {TIMES} 10⁻⁵"
    assert percent_decimals([0.99, 0.9896]) == 2
    assert percent(0.9997, percent_decimals([0.9997])) == "99.97"  # not 100.0
