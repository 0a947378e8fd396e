"""What accuracy is left when a network computes with its chip's integers and ADCs?

python benchmarks/quantised.py [--epochs 20] [--out benchmarks/results/quantised.json]

The digits network, trained in floating point and mapped whole onto every chip; with ADCs that resolve every sum
("integers"), and with the chip's own.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx import Chip, plan, quantised
from cannon_fx.atomic import atomic_write_text
from cannon_fx.data import Batches, load_data
from cannon_fx.networks import digits_net
from cannon_fx.run import CALIBRATION
from cannon_fx.train.evaluate import evaluate
from cannon_fx.train.training import Training


@dataclass(frozen=True)
class Options:
    """Minutes on one core."""

    epochs: int = 20
    out: Path = Path(__file__).parent / "results" / "quantised.json"


def main(options: Options) -> None:
    data = load_data("digits")
    test = Batches(data.test, data, 256, shuffle=False, augment=False, seed=0)
    train = Batches(data.train, data, 64, shuffle=True, augment=True, seed=0)
    torch.manual_seed(0)
    network = digits_net()
    for _ in Training(network, train, test, epochs=options.epochs, descent=0.0):
        pass
    samples = next(iter(Batches(data.train, data, CALIBRATION, shuffle=True, augment=False, seed=0)))[0]
    floating = evaluate(network, test)
    rows = []
    for name in Chip.presets():
        chip = Chip.load(name)
        assert chip.compute is not None
        exact = chip.model_copy(update={"compute": None})
        accuracy = []
        for one in (exact, chip):
            found = plan(network, samples, chip=one, group_size=4)
            accuracy.append(evaluate(quantised(network, found, samples), test))
        p, c = chip.precision, chip.crossbar
        rows.append(
            {
                "chip": name,
                "weight_bits": p.weight_bits,
                "activation_bits": p.activation_bits,
                "cell_bits": c.cell_bits,
                "rows_per_read": min(c.rows, chip.compute.rows_per_read),
                "adc_bits": chip.compute.adc.bits,
                "integers": accuracy[0],
                "on_the_chip": accuracy[1],
            }
        )
    heads = ("chip", "weights", "activations", "cells", "rows", "ADC", "integers", "on the chip")
    table = Table(*heads, title=f"digits_net, {len(data.test)} images; in floating point {floating:.2%}")
    for row in rows:
        table.add_row(*(f"{value:.2%}" if isinstance(value, float) else str(value) for value in row.values()))
    Console().print(table)
    result = {
        "schema": 1,
        "command": f"python benchmarks/quantised.py --epochs {options.epochs}",
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "floating_point": floating,
        "rows": rows,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
