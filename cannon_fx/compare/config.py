"""Everything that decides a comparison's numbers, and the runs that it consists of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cannon_fx.config import RunConfig, read_toml, to_toml
from cannon_fx.errors import RunError
from cannon_fx.hw.chip import Chip
from cannon_fx.methods import Method
from cannon_fx.passes.place import PlacementOrder


@dataclass(frozen=True)
class Job:
    """One run of one method, in the comparison's folder under `name`."""

    name: str
    config: RunConfig


@dataclass(frozen=True)
class CompareConfig:
    """The same for every method: base weights, epochs, schedule, learning rates to choose from, placement optimiser.

    `base_weights` is empty or has one file for each network. With several learning rates, a tenth of the train images
    is held out to choose among them. Raises RunError for what no comparison can have; each run checks the rest.
    """

    networks: tuple[str, ...]
    data: str
    chips: tuple[str, ...]
    methods: tuple[Method, ...]
    budgets: tuple[str, ...]
    seeds: int
    base_weights: tuple[str, ...]
    dense_epochs: int
    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    group_size: int
    order: PlacementOrder
    bfloat16: bool
    accumulate: int
    distill: float
    device: str

    def __post_init__(self) -> None:
        for name in ("networks", "chips", "methods", "budgets", "learning_rates"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise RunError(f"{name} must name at least one, and each once; it is {list(values)}.")
        for name, of in (("networks", self.network_name), ("chips", self.chip_name)):
            if len({of(value) for value in getattr(self, name)}) < len(getattr(self, name)):
                raise RunError(f"two of {name} have the same name: {list(getattr(self, name))}. Rename one.")
        if "dense" not in self.methods:
            raise RunError("methods must name dense: the others are measured against it.")
        if self.seeds < 1:
            raise RunError(f"seeds is {self.seeds}: give at least 1.")
        if self.base_weights and len(self.base_weights) != len(self.networks):
            raise RunError(
                f"base_weights has {len(self.base_weights)} files for {len(self.networks)} networks: give each one, or "
                "none."
            )

    @staticmethod
    def network_name(spec: str) -> str:
        """Of the factory."""
        return spec.rpartition(":")[2]

    @staticmethod
    def chip_name(spec: str) -> str:
        """Of the preset or the file. Raises ChipError for one that cannot be read."""
        return Chip.load(spec).name

    @classmethod
    def read(cls, path: Path) -> CompareConfig:
        """From TOML, as `toml` writes it. Raises RunError."""
        return read_toml(cls, path)

    def plain(self) -> dict[str, Any]:
        """Plain values, with lists for tuples."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def toml(self) -> str:
        """As TOML."""
        return to_toml(self.plain())

    def bases(self) -> dict[tuple[str, int], Job]:
        """The runs that train the networks to start from, by network and seed; none without dense epochs."""
        if not self.dense_epochs:
            return {}
        rate = self.learning_rates[0]
        return {
            (network, seed): Job(
                f"{self.network_name(network)}/base/seed{seed}",
                self._run("dense", network, self.chips[0], self.budgets[0], seed, rate, self.dense_epochs),
            )
            for network in self.networks
            for seed in range(self.seeds)
        }

    def jobs(self, folder: Path) -> Iterator[Job]:
        """The runs to compare, seed by seed, so that a comparison that was stopped has whole seeds."""
        bases = self.bases()
        for seed in range(self.seeds):
            for network in self.networks:
                base = bases.get((network, seed))
                for chip in self.chips:
                    for method in self.methods:
                        for budget in self.budgets[: 1 if method == "dense" else None]:
                            for rate in self.learning_rates:
                                config = self._run(method, network, chip, budget, seed, rate, self.epochs)
                                if base:
                                    config = replace(
                                        config, base_weights=str(folder / base.name / "weights.safetensors")
                                    )
                                yield Job(self._name(config), config)

    def _name(self, config: RunConfig) -> str:
        parts = [self.network_name(config.model), self.chip_name(config.chip), config.methods[0]]
        if config.methods[0] != "dense":
            parts.append(config.budget.replace("/", "-").replace("=", "-"))
        if len(self.learning_rates) > 1:
            parts.append(f"rate{config.learning_rate}")
        return "/".join([*parts, f"seed{config.seed}"])

    def _run(
        self, method: Method, network: str, chip: str, budget: str, seed: int, learning_rate: float, epochs: int
    ) -> RunConfig:
        weights = self.base_weights[self.networks.index(network)] if self.base_weights else None
        return RunConfig(
            model=network,
            data=self.data,
            chip=chip,
            budget=budget,
            methods=(method,),
            dense_epochs=0,
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=learning_rate,
            group_size=self.group_size,
            order=self.order,
            targets=(),
            ignore=(),
            device=self.device,
            bfloat16=self.bfloat16,
            accumulate=self.accumulate,
            distill=self.distill,
            seed=seed,
            base_weights=weights,
            hold_out=len(self.learning_rates) > 1,
        )
