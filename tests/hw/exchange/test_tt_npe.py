"""tt-npe's workload, with the fields that its reader asks for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.exchange.tt_npe import to_tt_npe
from cannon_fx.hw.network_spec import NetworkSpec
from cannon_fx.hw.traffic import Packets

GRID = NetworkSpec("mesh", 4, 2)
INTEGERS = {"packet_size", "num_packets", "src_x", "src_y", "dst_x", "dst_y", "phase_cycle_offset"}
Rows = list[tuple[int, int, int, int, int]]
rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 7), st.integers(1, 3), st.integers(0, 2)),
    max_size=40,
)  # fmt: skip


@given(rows, st.sampled_from([8, 12, 32]))
def test_every_packet_is_in_one_transfer_of_its_phase(
    rows: list[tuple[int, int, int, int, int]], flit_bits: int
) -> None:
    phase = np.array([row[4] for row in rows], int)
    workload = json.loads(to_tt_npe(Packets.of_rows([row[:4] for row in rows]), phase, GRID, flit_bits))
    written = []
    for number, content in zip(sorted(set(phase.tolist())), workload["phases"], strict=True):
        for transfer in content["transfers"]:
            assert all(isinstance(transfer[name], int) for name in INTEGERS)
            assert (transfer["noc_type"], transfer["injection_rate"]) == ("NOC_0", 0)
            place = [transfer[f"{end}_y"] * 4 + transfer[f"{end}_x"] for end in ("src", "dst")]
            size = transfer["packet_size"]
            written += [(transfer["phase_cycle_offset"], *place, size, number)] * transfer["num_packets"]
    bytes_of = {flits: -(-flits * flit_bits // 8) for flits in (1, 2, 3)}
    assert sorted(written) == sorted((t, s, d, bytes_of[flits], number) for t, s, d, flits, number in rows)


def test_a_tree_is_no_grid() -> None:
    with pytest.raises(ChipError, match="grid"):
        to_tt_npe(Packets.of_rows([(0, 0, 1, 1)]), np.zeros(1, int), NetworkSpec("tree", 4, 2), 32)
