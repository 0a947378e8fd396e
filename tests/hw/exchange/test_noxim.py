"""Noxim's table, read as its source reads it: a line counts strictly between its two cycles."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.noxim import RESET_CYCLES, to_noxim
from cannon_fx.hw.network_spec import NetworkSpec
from cannon_fx.hw.traffic import Packets

MESH = NetworkSpec("mesh", 3, 3)
rows = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 8), st.integers(0, 8), st.integers(1, 4), st.integers(0, 2)),
    min_size=1, max_size=40,
)  # fmt: skip


def lines_of(text: str) -> list[tuple[int, int, float, float, int, int]]:
    split = [line.split() for line in text.splitlines() if not line.startswith("%")]
    return [(int(a), int(b), float(p), float(q), int(on), int(off)) for a, b, p, q, on, off in split]


@given(rows)
def test_flits_of_each_pair_are_kept_and_no_source_sends_more_than_it_can(
    rows: list[tuple[int, int, int, int, int]],
) -> None:
    phase = np.array([row[4] for row in rows])
    packets = Packets.of_rows([(time + 10_000 * part, *ends) for time, *ends, part in rows])
    text = to_noxim(packets, phase, MESH)
    length = int(packets.flits.max())
    assert f"-dimx 3 -dimy 3 -routing XY -size {length} {length}" in text
    expected: dict[tuple[int, int], float] = defaultdict(float)
    for source, target, rate, again, on, off in lines_of(text):
        assert rate == again
        assert on >= RESET_CYCLES - 1
        expected[source, target] += rate * length * (off - on - 1)
    sent: dict[tuple[int, int], float] = defaultdict(float)
    for _, source, target, flits, _ in rows:
        sent[source, target] += flits
    assert expected == pytest.approx(dict(sent), rel=1e-6)
    # In one phase; several may fall into the same cycles.
    busy: dict[tuple[int, int, int], float] = defaultdict(float)
    for source, _, rate, _, on, off in lines_of(to_noxim(packets, np.zeros_like(phase), MESH)):
        busy[source, on, off] += rate * length
    assert max(busy.values()) <= 1 + 1e-6


def test_one_pair_by_hand() -> None:
    text = to_noxim(Packets.of_rows([(10, 0, 5, 2), (19, 0, 5, 2)]), np.zeros(2, int), MESH)
    assert lines_of(text) == [(0, 5, 0.2, 0.2, 1009, 1020)]


@pytest.mark.parametrize("spec", [NetworkSpec("torus", 3, 3), NetworkSpec("mesh", 3, 3, "yx")])
def test_other_networks(spec: NetworkSpec) -> None:
    with pytest.raises(ChipError, match="mesh with XY routing"):
        to_noxim(Packets.of_rows([(0, 0, 1, 1)]), np.zeros(1, int), spec)


def test_nothing_to_write() -> None:
    with pytest.raises(ChipError, match="no packets"):
        to_noxim(Packets.of_rows([]), np.zeros(0, int), MESH)
