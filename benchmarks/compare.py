"""How much less communication at the same accuracy? Comparisons by `cannon compare`, brought together.

python benchmarks/compare.py runs/digits runs/vgg [--out benchmarks/results/compare.json]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.compare.page import table
from cannon_fx.compare.summary import COSTS, advantages, points, same_energy


@dataclass(frozen=True)
class Options:
    """Folders that `cannon compare` wrote, or compare.json files; of a run that is in several, the first one counts."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path = Path(__file__).parent / "results" / "compare.json"


def main(options: Options) -> None:
    paths = [path / "compare.json" if path.is_dir() else path for path in options.folders]
    records: list[dict[str, Any]] = [json.loads(path.read_text("utf-8")) for path in paths]
    rows = _once([row for record in records for row in record["runs"]])
    console, found = Console(), points(rows)
    for network, chip in dict.fromkeys((point.network, point.chip) for point in found):
        heads = ("method", "budget", "seeds", "accuracy (%)", "pJ", "cycles", "energy", "latency", "EDP", "density (%)")
        shown = Table(*heads, title=f"{network} on {chip}; * more than half a point below dense")
        for line in table([point for point in found if (point.network, point.chip) == (network, chip)]):
            shown.add_row(*line)
        console.print(shown)
    means = Table("method", *COSTS, title="times less by cannon within half a point of dense, geometric means")
    for each in advantages(found):
        means.add_row(each.method, *(f"{each.geometric_mean(cost):.2f}" for cost in COSTS))
    console.print(means)
    for gap in same_energy(rows):
        spread = "" if gap["std"] is None else f", std of the paired difference {gap['std']:.2f}"
        where = f"{gap['network']} on {gap['chip']} at {gap['budget']}"
        console.print(f"{where}: cannon - {gap['method']}: {gap['points']:+.2f} points{spread}", highlight=False)
    result = {
        "schema": 1,
        "commands": [command for record in records for command in record.get("commands", [record.get("command")])],
        "versions": records[0]["versions"],
        "runs": rows,
        "refused": _once([each for record in records for each in record["refused"]]),
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each run; ends the program where a network was trained in two ways, which no mean may mix."""
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("network", "data", "chip", "method", "budget", "seed"))
        first = runs.setdefault(key, row)
        if any(first.get(name, 0.0) != row.get(name, 0.0) for name in ("epochs", "learning_rate", "distill")):
            raise SystemExit(f"{key} is there with other epochs, rate or distillation: bring together one at a time.")
    return list(runs.values())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
