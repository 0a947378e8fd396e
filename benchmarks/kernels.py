"""How fast are the block-sparse kernels on this CPU? `cannon bench kernels` on every cell, kept, with plots.

python benchmarks/kernels.py [--seconds 0.5] [--out benchmarks/results/kernels_cpu.json]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from kernels_report import break_even, draw

from cannon_fx.commands.bench import Bench


@dataclass(frozen=True)
class Options:
    seconds: float = 0.5
    """of timing for each number"""
    out: Path = Path(__file__).parent / "results" / "kernels_cpu.json"
    """also .png beside it"""


def main(options: Options) -> None:
    options.out.parent.mkdir(exist_ok=True)
    Bench("kernels", json=options.out, seconds=options.seconds).run()
    rows = json.loads(options.out.read_text())["rows"]
    for name, density in break_even(rows).items():
        print(f"break-even {'never' if density is None else f'{density:.2f}'}: {name}")
    draw(rows, options.out.with_suffix(".png"), peak=None)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
