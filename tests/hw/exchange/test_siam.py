"""SIAM's traces and tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.siam import from_siam_trace, to_siam_layers, to_siam_trace
from cannon_fx.hw.traffic import Packets


def test_a_trace_by_hand() -> None:
    read = from_siam_trace("0 5 1\n1 5 1\n\n0 6 2  # the next one\n")
    assert read.time.tolist() == [1, 1, 2]
    assert read.source.tolist() == [0, 1, 0]
    assert read.target.tolist() == [5, 5, 6]
    assert read.flits.tolist() == [1, 1, 1]


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5)), max_size=30),
)
def test_a_packet_becomes_one_row_per_flit(rows: list[tuple[int, int, int, int]]) -> None:
    packets = Packets.of_rows(rows)
    read = from_siam_trace(to_siam_trace(packets))
    assert (np.diff(read.time) >= 0).all()
    written = sorted(zip(read.time.tolist(), read.source.tolist(), read.target.tolist(), strict=True))
    assert written == sorted((t, s, d) for t, s, d, flits in rows for _ in range(flits))


@pytest.mark.parametrize("line", ["0 5", "0 5 1 4", "0 x 1", "0 5 -1", "0 -5 1", "0 5 1.5", "0 5 99999999999999999999"])
def test_broken_lines_are_named(line: str) -> None:
    with pytest.raises(ChipError, match="trace, line 2: "):
        from_siam_trace(f"0 1 2\n{line}\n", "trace")


def test_tables_of_one_chiplet_and_of_three() -> None:
    assert to_siam_layers([1, 4, 5], [27, 64, 128], 2.5) == {
        "num_tiles_per_layer.csv": "1\n4\n5\n",
        "ip_activation.csv": "27\n64\n128\n",
        "fps.csv": "2.5\n",
        "chiplet_breakup.csv": "0,2,1\n",
        "mesh_size.csv": "4\n",
    }
    split = to_siam_layers([1, 4, 18], [27, 64, 128], 2.5, [(0, 1, 1), (2, 2, 2)])
    assert split["chiplet_breakup.csv"] == "0,1,1\n2,2,2\n"
    assert split["mesh_size.csv"] == "3\n3\n"


@pytest.mark.parametrize(
    ("tiles", "activations", "rate", "chiplets"),
    [
        ([1], [2, 3], 1.0, None),
        ([], [], 1.0, None),
        ([0], [2], 1.0, None),
        ([1], [2], float("nan"), None),
        ([1], [2], 0.0, None),
        ([1, 1], [2, 2], 1.0, [(0, 0, 1)]),
        ([1, 1], [2, 2], 1.0, [(0, 1, 1), (1, 1, 1)]),
        ([1, 1], [2, 2], 1.0, [(0, 1, 0)]),
    ],
)
def test_tables_that_cannot_be(
    tiles: list[int], activations: list[int], rate: float, chiplets: list[tuple[int, int, int]] | None
) -> None:
    with pytest.raises(ChipError):
        to_siam_layers(tiles, activations, rate, chiplets)
