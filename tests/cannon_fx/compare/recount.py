"""Counts the energies of a comparison again from the transfers in its runs' reports. It knows nothing of cannon_fx.

python recount.py FOLDER   prints, per run, the energy recounted, pJ
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path


def energy_pj(report: dict) -> tuple[str, float]:  # type: ignore[type-arg]
    """The method of a run's report.json, and its energy: every flit walked over a mesh, first along x, then along y."""
    ((method, result),) = report["methods"].items()
    constants = report["noc_energy"]
    links = routers = 0
    for _, x, y, end_x, end_y, flits in result["transfers"]:
        passed = 1
        while (x, y) != (end_x, end_y):
            if x != end_x:
                x += int(math.copysign(1, end_x - x))
            else:
                y += int(math.copysign(1, end_y - y))
            passed += 1
        links += flits * (passed - 1)
        routers += flits * passed
    return method, links * constants["link_pj_per_flit"] + routers * constants["router_pj_per_flit"]


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).rglob("report.json")):
        name, energy = energy_pj(json.loads(path.read_text("utf-8")))
        print(f"{path.parent}: {name} {energy!r}")  # noqa: T201
