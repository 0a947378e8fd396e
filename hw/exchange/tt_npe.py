"""tt-npe (Tenstorrent): a workload in JSON, `phases[].transfers[]`. Read from its source at commit 1021603.

Sizes are bytes, positions x (column) and y (row). tt-npe models two tori with links one way each; everything is put on
NOC_0, which goes east and south, so that transfers to the west or north go round. It starts every phase at cycle 0,
so offsets count from the beginning of all.
"""

from __future__ import annotations

import json

import numpy as np

from ..arrays import Ints
from ..errors import ChipError
from ..network_spec import NetworkSpec
from ..traffic import Packets


def to_tt_npe(packets: Packets, phase: Ints, spec: NetworkSpec, flit_bits: int) -> str:
    """One transfer for the packets of a phase with the same source, target, length and time; `phase` int [packets].

    Rates are left to tt-npe (0). Raises ChipError for a network whose nodes have no place on a grid.
    """
    if spec.topology not in ("mesh", "torus", "chiplets"):
        raise ChipError(f"tt-npe places transfers on a grid, which a {spec.topology} is not. Choose another format.")
    columns = (phase, packets.time, packets.source, packets.target, packets.flits)
    rows, count = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    phases: dict[int, list[dict[str, int | str]]] = {}
    for (number, time, source, target, flits), packets_of in zip(rows.tolist(), count.tolist(), strict=True):
        phases.setdefault(number, []).append(
            {
                "packet_size": -(-flits * flit_bits // 8),
                "num_packets": packets_of,
                "src_x": source % spec.columns,
                "src_y": source // spec.columns,
                "dst_x": target % spec.columns,
                "dst_y": target // spec.columns,
                "injection_rate": 0,
                "phase_cycle_offset": time,
                "noc_type": "NOC_0",
                "noc_event_type": "WRITE_",
            }
        )
    return json.dumps({"phases": [{"transfers": transfers} for transfers in phases.values()]}, indent=1) + "\n"
