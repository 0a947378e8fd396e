"""The record of a run and its page, for several tests."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

from cannon_fx.hw.chip import Chip

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def method(energy: float, accuracy: float = 0.99, flits: int = 100, name: str = "stem") -> dict[str, Any]:
    layer = {
        "name": name, "kind": "conv2d", "weight_shape": [32, 16, 3, 3], "row_blocks": 2, "column_blocks": 1,
        "utilisation": 0.5, "connections": 16, "kept": 12, "keep": "fff0", "tile_utilisation": [[0.6], [0.15]],
        "density": 0.75, "flits": flits,
        "energy_pj": energy, "latency_cycles": 10.0,
    }  # fmt: skip
    one_tile = {"row_blocks": 1, "tile_utilisation": [[1.0]]}
    return {
        "accuracy": accuracy, "energy_pj": energy, "static_energy_pj": 5.0, "latency_cycles": 10.0,
        "edp_pj_cycles": 10 * energy, "density": 0.75, "latency_model": "analytic", "epochs": 2,
        "energy_shares_pj": {"input": 0.6 * energy, "partial_sum": 0.3 * energy, "move": 0.1 * energy},
        "layers": [layer, {**layer, "name": "head", "kind": "linear", "weight_shape": [10, 16], **one_tile}],
        "moves": [
            {"name": "add", "op": "aten.add.Tensor", "flits": 4, "energy_pj": energy / 9, "latency_cycles": 3}
        ],
        "compute": {
            "crossbar_pj": 1.0, "driver_pj": 2.0, "adc_pj": 3.0, "shift_add_pj": 4.0, "accumulate_pj": 5.0,
            "energy_pj": energy / 3, "latency_cycles": 77.0,
        },
        "phases": [["input", name], ["partial_sum", name], ["move", "add"]],
        "links": [
            {
                "from": [0, 0], "to": [1, 0], "flits": flits,
                "transfers": 5, "largest": [[0, -1, 1, flits - 9], [2, 0, 2, 6]],
            },
            {"from": [1, 0], "to": [0, 0], "flits": flits // 4, "transfers": 1, "largest": [[1, 1, 0, flits // 4]]},
        ],
    }  # fmt: skip


def record_of_a_run() -> dict[str, Any]:
    """What a run with three methods on a chip of 2 x 2 tiles leaves, with easy numbers."""
    tiles = [
        {"tile": 0, "x": 0, "y": 0, "layer": "stem", "row_block": 0, "column_block": 0},
        {"tile": 1, "x": 1, "y": 0, "layer": "stem", "row_block": 1, "column_block": 0},
        {"tile": 2, "x": 1, "y": 1, "layer": "head", "row_block": 0, "column_block": 0},
    ]
    pairs = [(0, 0, 1, 0), (0, 1, 1, 1), (0, 0, 0, 1), (1, 0, 1, 1)]
    links = [[x, y, to_x, to_y] for a, b, c, d in pairs for x, y, to_x, to_y in ((a, b, c, d), (c, d, a, b))]
    history = [
        {
            "method": name, "epoch": epoch, "phase": "sparsify" if epoch < 2 else "fine-tune", "loss": 0.5,
            "train_accuracy": 0.9, "accuracy": 0.9 + epoch / 100, "energy_pj": 900.0 / epoch,
            "latency_cycles": 10.0, "density": 0.8, "strength": 0.01, "seconds": 1.5,
        }
        for name in ("cost-blind", "cannon")
        for epoch in (1, 2, 3)
    ]  # fmt: skip
    return {
        "schema": 1, "command": "cannon optimize --seed 0",
        "versions": {"cannon_fx": "0.1.0", "torch": "2.13.0"}, "network": "digits-resnet", "data": "digits",
        "seed": 0, "device": "cpu", "budget": "energy/3",
        "seconds": 12.5,
        "chip": Chip.load("demo-32nm").dump(),
        "chip_sources": {"noc.flit_bits": "Table 2 of the paper", "noc.router.num_vcs": "as BookSim2"},
        "noc_energy": {"router_pj_per_flit": 1.306},
        "methods": {
            "dense": method(900.0), "cost-blind": method(600.0, 0.98, 60), "cannon": method(300.0, 0.988, 25),
        },
        "floor_plan": {"columns": 2, "rows": 2, "port": [0, 0], "links": links, "tiles": tiles},
        "unmapped": [{"name": "dw", "reason": "grouped convolution"}], "fallback_ops": ["aten.softmax.int"],
        "history": history,
    }  # fmt: skip


class Page(HTMLParser):
    """All start tags with their attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.skip = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.skip = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.skip = False

    def handle_data(self, data: str) -> None:
        if not self.skip:
            self.words.append(data)


KEPT = ("keep", "schema", "phase", "latency_model", "budget", "from", "to")
"""Keys whose values are no free text, and the budget, by which the page decides what to say."""


def rename(value: Any, end: str, key: str = "") -> Any:
    """A copy with `end` after every text of a stranger's record, the names of its methods too (but for the pair's)."""
    if isinstance(value, dict):
        names = {name: name + end if key == "methods" and name not in ("dense", "cannon") else name for name in value}
        return {names[name]: each if name in KEPT else rename(each, end, name) for name, each in value.items()}
    if isinstance(value, list):
        return [rename(each, end, key) for each in value]
    if isinstance(value, str) and value not in ("dense", "cannon"):
        return value + end
    return value


def svgs(html: str, css_class: str) -> list[ElementTree.Element]:
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    return [svg for svg in found if svg.get("class") == css_class]
