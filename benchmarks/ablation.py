"""What does each part of the method bring? The same retraining with one part left out or changed at a time.

python benchmarks/ablation.py --base-weights VGG.safetensors --data npz:cifar10_jpeg.npz [--seeds 3] [--variants …]
    [--out benchmarks/results/ablation.json]

A quarter-width VGG-16 at energy/6 in 4 epochs, a schedule so tight that differences show. Parts are left out here, by
replacing what the modules of cannon_fx/train are made of: the product has no switches for what pays. Runs that are in
the file already are not done again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx.atomic import atomic_write_text
from cannon_fx.config import RunConfig
from cannon_fx.data import load_data
from cannon_fx.run import Run
from cannon_fx.train import control, penalty
from cannon_fx.train.control import BudgetControl


@torch.no_grad()
def observe_norms(self: BudgetControl) -> None:
    """Importance by the squares of the weights, as they are now."""
    squares = {
        name: module.pattern.sums(module.matrix(module.weight).square()).sum(0).double().numpy()
        for name, module in self.modules.items()
    }
    now = torch.from_numpy(self.units.per_unit(squares))
    self.importance = torch.where(torch.from_numpy(self.kept), now, self.importance)


def map_when_landed(self: BudgetControl, whole: Callable[[BudgetControl], None] = BudgetControl._map) -> None:
    """Not before."""
    if self.landed:
        whole(self)


@dataclass(frozen=True)
class Variant:
    """`change` is entered around the run, `options` replace those of the run."""

    meaning: str
    change: Callable[[], AbstractContextManager[Any]] = nullcontext
    options: dict[str, Any] = field(default_factory=dict)


VARIANTS: dict[str, Variant] = {
    "cannon": Variant("the method as it is"),
    "distilled": Variant("and seven tenths of the loss from the network as it was given", options={"distill": 0.7}),
    "no cliffs": Variant(
        "units before a cliff ranked by their own price",
        partial(patch.object, control, "before_cliffs", lambda order, *_: order),
    ),
    "nothing fades": Variant("no penalty before the cut", partial(patch.object, penalty, "FADING", 0.0)),
    "mapped once": Variant(
        "priced on the dense network's tiles to the end of the descent",
        partial(patch.object, BudgetControl, "_map", map_when_landed),
    ),
    "one cut": Variant("everything at once, at the descent's end", partial(patch.object, control, "UPDATES", 1)),
    "by norm": Variant(
        "importance by squared weights, not by weight x gradient",
        partial(patch.object, BudgetControl, "_observe", observe_norms),
    ),
    "groups of 4": Variant("four channels a unit", options={"group_size": 4}),
    "links": Variant("the price of a unit by the links that its reads cross", options={"methods": ("distance",)}),
    "no prices": Variant("every read at the same price", options={"methods": ("cost-blind",)}),
}


@dataclass(frozen=True)
class Options:
    """What is trained, how often, and which variants of it."""

    base_weights: Path
    data: str
    seeds: int = 3
    variants: tuple[str, ...] = tuple(VARIANTS)
    out: Path = Path(__file__).parent / "results" / "ablation.json"


def config(options: Options, variant: Variant, seed: int) -> RunConfig:
    """Of one run."""
    common: dict[str, Any] = {
        "model": "cannon_fx.networks_cifar:vgg16_quarter", "data": options.data, "chip": "siam-32nm",
        "budget": "energy/6", "methods": ("cannon",), "dense_epochs": 0, "epochs": 4, "batch_size": 128,
        "learning_rate": 0.05, "group_size": 1, "order": "annealed", "targets": (), "ignore": (), "device": "cpu",
        "seed": seed, "base_weights": str(options.base_weights), "bfloat16": True,
    }  # fmt: skip
    return RunConfig(**common | variant.options)


def main(options: Options) -> None:
    rows: list[dict[str, Any]] = json.loads(options.out.read_text("utf-8"))["runs"] if options.out.exists() else []
    console, data = Console(), load_data(options.data)
    for seed in range(options.seeds):
        for name in options.variants:
            if any(row["variant"] == name and row["seed"] == seed for row in rows):
                continue
            chosen = config(options, VARIANTS[name], seed)
            with VARIANTS[name].change():
                record = Run(chosen, "", data).execute()
            found = record["methods"][chosen.methods[0]]
            cycles = found["simulated_latency_cycles"]
            row = {"variant": name, "meaning": VARIANTS[name].meaning, "seed": seed, "accuracy": found["accuracy"]}
            rows.append(row | {"energy_pj": found["energy_pj"], "latency_cycles": cycles, "seconds": record["seconds"]})
            console.print(f"{name}, seed {seed}: {found['accuracy']:.2%}", highlight=False)
            result = {
                "schema": 1,
                "command": f"python benchmarks/ablation.py --base-weights {options.base_weights} --data {options.data}",
                **{key: record[key] for key in ("network", "data", "budget", "device", "versions")},
                "epochs": chosen.epochs,
                "runs": rows,
            }
            atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")
    table = Table("variant", "seeds", "accuracy, mean ± std (%)", "pJ")
    for name in VARIANTS:
        if mine := [row for row in rows if row["variant"] == name]:
            accuracy = [100 * row["accuracy"] for row in mine]
            spread = f" ± {statistics.stdev(accuracy):.2f}" if len(mine) > 1 else ""
            energy_pj = statistics.fmean(row["energy_pj"] for row in mine)
            table.add_row(name, str(len(mine)), f"{statistics.fmean(accuracy):.2f}{spread}", f"{energy_pj:,.0f}")
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
