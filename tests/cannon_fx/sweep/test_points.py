"""The Pareto front against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.sweep.points import pareto

costs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(costs)
def test_no_point_of_the_front_is_beaten(points: list[tuple[int, int]]) -> None:
    front = pareto(np.array(points, float))
    chosen = {point for point, best in zip(points, front, strict=True) if best}
    beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and q[1] <= p[1]}
    assert chosen == set(points) - beaten
