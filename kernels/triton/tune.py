"""Chooses a configuration: from what was measured on this kind of device, or by measuring now, once.

Measurements are JSON, one file per kind of device: those that come with the package (`tuned/`), and those made here, in
$XDG_CACHE_HOME/cannon_fx/tuned.
"""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import triton

from .configuration import Configuration, Problem, candidates, default

PACKAGED = Path(__file__).parent / "tuned"

_chosen: dict[tuple[torch.device, Problem], Configuration] = {}


def choose(problem: Problem, run: Callable[[Configuration], None], device: torch.device) -> Configuration:
    """The fastest candidate for `problem`; `run` launches one.

    The default where nothing can be measured: without a device, and while a CUDA graph is captured.
    """
    if (device, problem) in _chosen:
        return _chosen[device, problem]
    if device.type != "cuda":
        return default(problem)
    name = torch.cuda.get_device_name(device)
    known = measurements(name)
    key = json.dumps(asdict(problem))
    if key in known:
        best = Configuration(**known[key])
    elif torch.cuda.is_current_stream_capturing():
        return default(problem)
    else:
        best = measure(problem, run)
        known[key] = asdict(best)
        keep(name, known)
    _chosen[device, problem] = best
    return best


def measure(problem: Problem, run: Callable[[Configuration], None]) -> Configuration:
    """The candidate with the lowest median time. Raises RuntimeError when none runs, with the reasons."""
    times: dict[Configuration, float] = {}
    reasons = []
    for candidate in candidates(problem):
        try:
            times[candidate] = triton.testing.do_bench(
                functools.partial(run, candidate), warmup=5, rep=20, return_mode="median"
            )
        # One that does not fit the device, or that its compiler refuses.
        except (triton.runtime.errors.OutOfResources, triton.CompilationError, RuntimeError) as error:
            reasons.append(f"{candidate}: {error}")
    if not times:
        raise RuntimeError(f"no configuration runs for {problem}:\n" + "\n".join(reasons))
    return min(times, key=lambda candidate: times.get(candidate, math.inf))


def measurements(name: str) -> dict[str, dict[str, Any]]:
    """What is known of the device called `name`: problem -> configuration, as JSON."""
    known: dict[str, dict[str, Any]] = {}
    for path in (PACKAGED / file_name(name), cache() / file_name(name)):
        if path.exists():
            known |= json.loads(path.read_text("utf-8"))
    return known


def keep(name: str, known: dict[str, dict[str, Any]]) -> None:
    """Writes the cache, whole: another process may read or write it at the same time."""
    path = cache() / file_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        json.dump(known, file, indent=1)
    os.replace(file.name, path)


def cache() -> Path:
    """The folder of the measurements made here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cannon_fx" / "tuned"


def file_name(name: str) -> str:
    return name.replace(" ", "_").replace("/", "_") + ".json"
