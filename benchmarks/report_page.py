"""How large is the report's page of a large network, and how long does it take to draw? Weights on `meta`.

python benchmarks/report_page.py [--network ResNet-50] [--out FOLDER for the page and its record]

Masks are random: half of the connections are cut, which is harder to draw and to store than what training leaves.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from planning import NETWORKS

from cannon_fx import plan
from cannon_fx.atomic import atomic_write_text
from cannon_fx.chip_sources import chip_sources
from cannon_fx.cost import cost
from cannon_fx.hw.chip import Chip
from cannon_fx.record import method_record, plan_record
from cannon_fx.report import render_html
from cannon_fx.zoo.entry import Entry

CHIP, EPOCHS = "siam-32nm", 90


@dataclass(frozen=True)
class Options:
    """What is drawn."""

    network: str = "ResNet-50"
    out: Path | None = None
    json: Path = Path(__file__).parent / "results" / "report_page.json"


def record_of(network: str) -> dict[str, Any]:
    """A run's record with dense, cost-blind and cannon, as after `EPOCHS` epochs."""
    entry = Entry.parse(NETWORKS[network], "NETWORKS")
    with torch.device("meta"):
        model = entry.build().eval()
    args, kwargs = entry.arguments(model)
    found = plan(model, (args, kwargs), chip=CHIP)
    random = np.random.default_rng(0)
    cut = {name: random.random(mask.shape) < 0.5 for name, mask in found.keep().items()}
    costs = {"dense": found.cost(), "cost-blind": cost(found, cut), "cannon": cost(found, cut)}
    methods = {
        name: method_record(found, each, None) | {"accuracy": 0.75, "epochs": EPOCHS} for name, each in costs.items()
    }
    history = [
        {"method": name, "epoch": epoch, "phase": "fine-tune", "accuracy": 0.7 + epoch / 2000, "energy_pj": 1e9}
        for name in methods
        for epoch in range(1, EPOCHS + 1)
    ]
    return {
        "schema": 1,
        "command": "cannon optimize",
        "versions": {"torch": torch.__version__},
        "network": network,
        "budget": "energy/3",
        "methods": methods,
        **plan_record(found),
        "chip_sources": chip_sources(Chip.text_of(CHIP)),
        "history": history,
    }


def main(options: Options) -> None:
    """Draw the page and print its size."""
    record = record_of(options.network)
    begin = time.perf_counter()
    page = render_html(record)
    seconds = time.perf_counter() - begin
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        atomic_write_text(options.out / "report.html", page)
        atomic_write_text(options.out / "report.json", json.dumps(record))
    result = {
        "network": options.network,
        "tiles": len(record["floor_plan"]["tiles"]),
        "links": len(record["methods"]["dense"]["links"]),
        "page_mb": round(len(page.encode()) / 1e6, 3),
        "seconds": round(seconds, 2),
    }
    atomic_write_text(options.json, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
