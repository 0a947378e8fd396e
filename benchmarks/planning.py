"""How long does plan() take, and how much memory? Beside torch.export alone, weights on `meta`, in one run.

python benchmarks/planning.py [--repeats 3] [--out benchmarks/results/planning.json]

Networks of packages that are not installed (torchvision, transformers) are left out.
"""

from __future__ import annotations

import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table

from cannon_fx import plan
from cannon_fx.atomic import atomic_write_text
from cannon_fx.zoo.entry import Entry
from cannon_fx.zoo.torchvision_ops import import_torchvision

NETWORKS = {
    "ResNet-18": "cannon_fx.networks:resnet18 float[1,3,224,224]",
    "ResNet-50": "cannon_fx.networks:resnet50 float[1,3,224,224]",
    "ViT-B/16": "torchvision.models:vit_b_16 float[1,3,224,224]",
    "Swin-T": "torchvision.models:swin_t float[1,3,224,224]",
    "Llama, 1 B": "transformers:LlamaForCausalLM(LlamaConfig(hidden_size=2048, num_hidden_layers=16, "
    "num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192, vocab_size=128256)) "
    "input_ids=int[1,128]<100 use_cache=False",
}


@dataclass(frozen=True)
class Options:
    """Every repeat is a fresh process, so that nothing is cached and peak memory is its own."""

    repeats: int = 3
    out: Path = Path(__file__).parent / "results" / "planning.json"
    one: str | None = None
    """one repeat of this network, in this process (used by the benchmark itself)"""


def one_repeat(line: str) -> dict[str, float]:
    """Seconds of a process's first plan(), then of torch.export alone, of plan() again, and of one cost evaluation."""
    import_torchvision()
    entry = Entry.parse(line, "NETWORKS")
    with torch.device("meta"):
        model = entry.build().eval()
    args, kwargs = entry.arguments(model)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    found = plan(model, (args, kwargs))
    first_plan = time.perf_counter() - begin
    memory_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024

    gc.collect()  # none of the three pays for another's garbage
    begin = time.perf_counter()
    torch.export.export(
        model, tuple(a.to("meta") for a in args),
        {key: value.to("meta") if isinstance(value, torch.Tensor) else value for key, value in kwargs.items()},
        strict=False,
    )  # fmt: skip
    export = time.perf_counter() - begin
    gc.collect()
    begin = time.perf_counter()
    plan(model, (args, kwargs))
    second_plan = time.perf_counter() - begin
    begin = time.perf_counter()
    found.cost()
    return {
        "first_plan_seconds": first_plan,
        "warm_export_seconds": export,
        "warm_plan_seconds": second_plan,
        "warm_plan_over_export": second_plan / export,
        "cost_seconds": time.perf_counter() - begin,
        "peak_memory_above_model_mb": memory_mb,
        "tiles": found.tiles,
    }


def main(options: Options) -> None:
    if options.one:
        sys.stdout.write(json.dumps(one_repeat(options.one)))
        return
    console, networks = Console(), {}
    for name, line in NETWORKS.items():
        if find_spec(line.partition(":")[0].partition(".")[0]) is None:
            console.print(f"{name} is left out: {line.partition(':')[0]} is not installed.")
            continue
        command = [sys.executable, __file__, "--one", line]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            for _ in range(options.repeats)
        ]
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        networks[name] = {"model": line, "median": median, "runs": runs}
    table = Table("network", *next(iter(networks.values()))["median"], title="siam-32nm, medians")
    for name, found in networks.items():
        table.add_row(name, *(f"{value:.3g}" for value in found["median"].values()))
    console.print(table)
    result = {
        "schema": 2,
        "command": f"python benchmarks/planning.py --repeats {options.repeats}",
        "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
        "torch": torch.__version__,
        "networks": networks,
    }
    options.out.parent.mkdir(exist_ok=True)
    atomic_write_text(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
