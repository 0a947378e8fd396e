"""Several runs beside each other: what was done differently, and what came of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cannon_fx.errors import RunError
from cannon_fx.report.constants import text
from cannon_fx.report.headline import choose_pair, headline
from cannon_fx.report.read import read_record

COSTS = ("energy_pj", "latency_cycles", "edp_pj_cycles")


@dataclass(frozen=True)
class RunResult:
    """One run: the name that tells it from the others, its record, and the options of its config.toml, if any."""

    name: str
    folder: Path
    record: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The method that stands for the run: cannon, where it is among them."""
        return choose_pair(self.record["methods"]).after

    @property
    def result(self) -> Mapping[str, Any]:
        """What came of that method."""
        found: Mapping[str, Any] = self.record["methods"][self.method]
        return found

    @property
    def settings(self) -> dict[str, str]:
        """Everything that might explain a difference, by name, as text."""
        record = self.record
        named = {key: record.get(key) for key in ("network", "data", "budget", "seed", "device")}
        options = {key: value for key, value in self.options.items() if key != "model"}  # which is the network
        versions = {f"{name} version": number for name, number in record["versions"].items()}
        chip = {f"chip: {key}": value for key, value in _flat(record["chip"]) if key != "description"}
        found = {**named, "method": self.method, **options, **chip, **versions}
        return {key: text(value) for key, value in found.items()}


def read_runs(folders: Sequence[Path]) -> list[RunResult]:
    """The runs in `folders`, in order. Raises RunError for one that is none, and for one that is named twice."""
    whole = [folder.resolve() for folder in folders]
    for number, folder in enumerate(whole):
        if folder in whole[:number]:
            raise RunError(f"{str(folders[number])!r} is named twice. Name each run once.")
    short = [folder.name for folder in whole]
    names = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    return [
        RunResult(name, folder, read_record(folder), _options(folder))
        for name, folder in zip(names, folders, strict=True)
    ]


def _options(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "config.toml").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {str(folder / 'config.toml')!r}: {error}. Restore it, or remove it.") from error


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def differences(runs: Sequence[RunResult]) -> dict[str, list[str]]:
    """Per setting that is not the same in all runs, each run's; '' where a run has none."""
    settings = [run.settings for run in runs]
    names = dict.fromkeys(name for each in settings for name in each)
    rows = {name: [each.get(name, "") for each in settings] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def layer_costs(runs: Sequence[RunResult]) -> dict[str, dict[str, list[float | None]]]:
    """Per cost and layer, each run's; None where a run has no such layer. Layers in order, those of later runs last."""
    names = dict.fromkeys(layer["name"] for run in runs for layer in run.result["layers"])
    of = [{layer["name"]: layer for layer in run.result["layers"]} for run in runs]
    return {
        key: {name: [layers[name][key] if name in layers else None for layers in of] for name in names}
        for key in COSTS[:2]
    }


def as_json(runs: Sequence[RunResult]) -> dict[str, Any]:
    """The comparison as plain values, for scripts."""
    keys = ("accuracy", *COSTS, "static_energy_pj", "simulated_latency_cycles", "density")
    return {
        "runs": [
            {
                "name": run.name,
                "folder": str(run.folder),
                "command": run.record["command"],
                "headline": headline(run.record),
                "method": run.method,
                "methods": {
                    name: {key: method.get(key) for key in keys} for name, method in run.record["methods"].items()
                },
            }
            for run in runs
        ],
        "differences": differences(runs),
        "layers": layer_costs(runs),
    }
