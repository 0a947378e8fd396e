"""NetWork.csv in its two dialects, SCALE-Sim's topology, and traffic matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.layer_shape import LayerShape
from cannon_fx.hw.exchange.matrix import from_matrix
from cannon_fx.hw.exchange.network_csv import from_network_csv, to_network_csv
from cannon_fx.hw.exchange.scale_sim import from_scale_sim, to_scale_sim

DATA = Path(__file__).parent.parent.parent / "data" / "exchange"

count = st.integers(1, 170)  # all together below the most that can be
shapes = st.lists(
    st.builds(
        LayerShape, count, count, count, count, count, count, st.booleans(), count, st.sampled_from([0.0, 0.125, 1.0]),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(shapes, st.sampled_from(["neurosim", "siam"]))
def test_network_csv_comes_back(layers: list[LayerShape], dialect: Literal["neurosim", "siam"]) -> None:
    lost: dict[str, Any] = {"sparsity": 0.0} if dialect == "neurosim" else {"stride": 1}
    expected = [replace(layer, **lost) for layer in layers]
    assert from_network_csv(to_network_csv(layers, dialect), dialect) == expected


@given(shapes)
def test_scale_sim_comes_back(layers: list[LayerShape]) -> None:
    fitting = [
        replace(layer, height=max(layer.height, layer.kernel_height), width=max(layer.width, layer.kernel_width))
        for layer in layers
    ]
    expected = [replace(s, pool=False, sparsity=0.0, name=f"layer{n}") for n, s in enumerate(fitting, 1)]
    assert from_scale_sim(to_scale_sim(fitting)) == expected


def test_the_same_file_in_both_dialects() -> None:
    text = (DATA / "NetWork_neurosim.csv").read_text()
    strides = [layer.stride for layer in from_network_csv(text, "neurosim")]
    assert strides == [2, 1, 2, 1, 2, 1, 1]
    with pytest.raises(ChipError, match="line 1: sparsity is '2'"):
        from_network_csv(text, "siam")


def test_siam_has_seven_to_nine_columns() -> None:
    read = from_network_csv((DATA / "NetWork_siam.csv").read_text(), "siam")
    assert [layer.sparsity for layer in read] == [0.25, 0.0, 1.0]
    assert read[0] == LayerShape(14, 14, 1, 5, 5, 4, pool=True, sparsity=0.25)
    assert from_network_csv("1,1,8,1,1,4,0\n", "siam") == [LayerShape(1, 1, 8, 1, 1, 4)]


def test_scale_sim_skips_empty_rows_and_takes_two_strides() -> None:
    read = from_scale_sim((DATA / "scale_sim.csv").read_text())
    assert read[1] == LayerShape(6, 6, 8, 3, 3, 16, name="Conv2")
    assert [layer.stride for layer in read] == [2, 1, 1]


BROKEN = {
    "too few columns": ("neurosim", "8,8,3,3,3,8,0,1\n8,8,3,3\n", "line 2: 4 columns"),
    "no number": ("neurosim", "8,8,three,3,3,8,0,1\n", "line 1: in_channels is 'three'"),
    "zero": ("neurosim", "8,8,3,3,3,0,0,1\n", "line 1: out_channels is '0'"),
    "negative": ("siam", "8,-8,3,3,3,8,0\n", "line 1: width is '-8'"),
    "fraction": ("siam", "8,8,3,2.5,3,8,0\n", "line 1: kernel_height is '2.5'"),
    "not a number": ("siam", "8,8,3,3,3,8,0,nan\n", "line 1: sparsity is 'nan'"),
    "pool": ("neurosim", "8,8,3,3,3,8,7,1\n", "line 1: pool is 7"),
    "stride missing": ("neurosim", "8,8,3,3,3,8,0\n", "choose another dialect"),
    "nothing": ("neurosim", "\n , \n", "holds no layers"),
    "unknown dialect": ("mnsim", "8,8,3,3,3,8,0,1\n", "unknown dialect 'mnsim'"),
    "a sparsity as a stride": ("neurosim", "8,8,3,3,3,8,0,0.5\n", "stride .in dialect neurosim. is '0.5'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_network_csv(case: str) -> None:
    dialect, text, problem = BROKEN[case]
    with pytest.raises(ChipError, match=problem):
        from_network_csv(text, dialect)  # type: ignore[arg-type]


HEADER = "Layer name, IFMAP Height,\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Conv1,8,8,3,3,3,8,1,\n", "header"),
        (HEADER + "Conv1,8,8,3,3,3,8,\n", "line 2: 7 columns"),
        (HEADER + "Conv1,8,8,9,3,3,8,1,\n", "larger than its input"),
        (HEADER + "Conv1,8,8,3,3,3,8,1,2,\n", "strides 1 and 2 differ"),
        (HEADER + "Conv1,8,8,3,3,3,8,0,\n", "stride is '0'"),
        (HEADER, "no layers"),
        ("", "no layers"),
    ],
)
def test_broken_scale_sim(text: str, problem: str) -> None:
    with pytest.raises(ChipError, match=problem):
        from_scale_sim(text)


def test_matrix() -> None:
    assert from_matrix("0, 1\n\n2 3 # flits\n", 2).tolist() == [[0, 1], [2, 3]]
    for text, problem in (
        ("0 1\n", "has 1 rows, but the network has 2 nodes"),
        ("0 1\n0 1\n0 1\n", "has 3 rows"),
        ("0 1\n0 1 2\n", "line 2: 3 numbers"),
        ("0 1\n0 -1\n", "line 2: flits are whole"),
        ("0 1\n0 nan\n", "line 2: flits are whole"),
        ("0 1\n0 0.5\n", "line 2: flits are whole"),
        ("0 1\n0 1" + "0" * 30, "line 2: flits are whole"),
    ):
        with pytest.raises(ChipError, match=problem):
            from_matrix(text, 2)
