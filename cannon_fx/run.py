"""A run: train or take a dense network, retrain it once per method, and write what came out into a folder.

The run goes from checkpoint to checkpoint, one at every epoch's end and some in between; a run that was killed goes
on from the last one and ends with the same numbers.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cannon_fx import __version__
from cannon_fx.applied import AppliedPlan
from cannon_fx.checkpoint import Checkpoints, make_folder, read_checkpoint
from cannon_fx.chip_sources import chip_sources
from cannon_fx.compile import apply_cannon, plan
from cannon_fx.config import RunConfig
from cannon_fx.counting import Counter
from cannon_fx.data import Batches, ImageData, hold_out, load_data
from cannon_fx.errors import RunError
from cannon_fx.factory import load_model, load_weights
from cannon_fx.fit import check_fit
from cannon_fx.hw.chip import Chip
from cannon_fx.methods import Method
from cannon_fx.plans import Plan
from cannon_fx.quantise.model import quantised
from cannon_fx.record import plan_record, trained_record
from cannon_fx.save import save
from cannon_fx.train.baselines.filters import FilterControl
from cannon_fx.train.budget import Budget
from cannon_fx.train.evaluate import evaluate
from cannon_fx.train.landing import check_feasible
from cannon_fx.train.ranks import first, rank, ranks
from cannon_fx.train.start import PRICING, starter
from cannon_fx.train.training import Epoch, Training

CALIBRATION = 64
"""Train samples by which a quantised network's ranges are set."""


@dataclass(frozen=True)
class Stage:
    """One training of the run: the dense base network, or one method that starts from it."""

    name: Literal["base"] | Method
    epochs: int

    @property
    def method(self) -> Method:
        """By which it trains."""
        return "dense" if self.name == "base" else self.name


Listener = Callable[[Stage, Epoch], None]


def _ignore_epoch(stage: Stage, epoch: Epoch) -> None:
    """The listener of a run that nobody watches."""


class Run:
    """Making one checks everything that can be checked before training: model, data, chip, patterns, budget."""

    def __init__(self, config: RunConfig, command: str, data: ImageData | None = None) -> None:
        """`data` is what `config.data` names, if the caller has read it already."""
        self.config, self.command = config, command
        self.data, self.held_out = data or load_data(config.data), None
        if config.hold_out:
            self.data, self.held_out = hold_out(self.data)
        torch.manual_seed(config.seed)
        self.base: nn.Module = load_model(config.model).to(config.device)
        if config.base_weights is not None:
            load_weights(self.base, config.base_weights)
        self.chip_sources = chip_sources(Chip.text_of(config.chip))
        self.plan = self._replan(self.base)
        check_fit(self.base, self.plan, self.data, config)
        self.full = self.plan.cost()
        self.identity = self._identity()
        self.budget = Budget.parse(config.budget)
        check_feasible(self.plan, self.budget.metric, self.budget.limit(self.full))
        self.stages = [Stage("base", config.dense_epochs)] if config.dense_epochs else []
        self.stages += [Stage(method, config.epochs) for method in config.methods]
        self.first = 0
        self.interrupted: dict[str, Any] | None = None
        self.results: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.kept_plan = self.plan

    def start(self, folder: Path) -> None:
        """Makes the run's folder. Raises RunError when it exists or cannot be made."""
        first(lambda: make_folder(folder, self.config))

    def resume(self, folder: Path) -> None:
        """Takes up the run in `folder`. Raises RunError when there is none, or one with other options."""
        state = first(lambda: read_checkpoint(folder, self.config, self.identity))
        if state is None:
            return
        self.first, self.interrupted = state["stage"], state["training"]
        self.results, self.history = state["results"], state["history"]
        if state["base"] is not None:
            self._load(self.base.load_state_dict, state["base"], folder)

    def _identity(self) -> dict[str, Any]:
        """What must be the same when a run goes on: options, and what the files hold that they name."""
        chip = {f"chip {name}": value for name, value in self.plan.chip.dump().items()}
        return {**self.config.plain(), **chip, "data's fingerprint": self.data.fingerprint(), "processes": ranks()}

    @staticmethod
    def _load(load_state_dict: Callable[[Any], Any], state: Any, folder: Path) -> None:
        try:
            load_state_dict(state)
        except Exception as error:  # a network whose code has changed fails in many ways
            raise RunError(
                f"the checkpoint in {str(folder)!r} does not fit the network ({type(error).__name__}): its code has "
                "changed since. Start again with another --out."
            ) from error

    def execute(
        self, folder: Path | None = None, listen: Listener = _ignore_epoch, checkpoint_seconds: float = 60.0
    ) -> dict[str, Any]:
        """Runs the stages that are left and returns the record.

        With a folder, leaves weights there, and a checkpoint at the end of every epoch and each `checkpoint_seconds`.
        """
        checkpoints = Checkpoints(folder, checkpoint_seconds)
        for number in range(self.first, len(self.stages)):
            self._stage(number, folder, checkpoints, listen)
        return self.record()

    def record(self) -> dict[str, Any]:
        """What report.json holds."""
        versions = {"cannon-fx": __version__, **{name: version(name) for name in ("torch", "numpy")}}
        versions["python"] = platform.python_version()
        return {
            "schema": 1,
            "command": self.command,
            "versions": versions,
            "network": self.config.model,
            "data": self.data.name,
            "seed": self.config.seed,
            "device": f"{self.config.device}, {torch.get_num_threads()} threads, {platform.machine()}"
            + (f", {ranks()} processes" if ranks() > 1 else ""),
            "budget": self.config.budget,
            "seconds": sum(row["seconds"] for row in self.history),
            "methods": self.results,
            **plan_record(self.kept_plan),
            "chip_sources": self.chip_sources,
            "history": self.history,
        }

    def _stage(self, number: int, folder: Path | None, checkpoints: Checkpoints, listen: Listener) -> None:
        stage, config = self.stages[number], self.config
        torch.manual_seed(config.seed + number + (rank() << 32))  # dropout is not the same on all shares of a batch
        network = self.base if stage.name == "base" else copy.deepcopy(self.base)
        found = self.plan
        if stage.method in PRICING:
            found = apply_cannon(network, self._sample(), **self._mapping())
        training = Training(
            network,
            Batches(self.data.train, self.data, config.batch_size, shuffle=True, augment=True, seed=config.seed),
            self._test(),
            epochs=stage.epochs,
            start=starter(stage.method, network, found, self.budget, self._replan, self._sample()),
            descent=0.0 if stage.name == "base" else 0.5,
            learning_rate=config.learning_rate,
            device=config.device,
            bfloat16=config.bfloat16,
            accumulate=config.accumulate,
            distill=0.0 if stage.method == "dense" else config.distill,
        )

        def keep() -> None:
            checkpoints.write(self._state(number, training))

        def keep_if_due() -> None:
            if checkpoints.due():
                keep()

        if self.interrupted:
            self._load(training.load_state_dict, self.interrupted, folder or Path())
            self.interrupted = None
        while training.done < stage.epochs:
            epoch = training.run_epoch(keep_if_due)
            row = {"method": stage.name, **asdict(epoch)}
            if training.control is None:
                row |= {"energy_pj": self.full.energy_pj, "latency_cycles": self.full.latency_cycles}
            self.history.append(row)
            keep()
            listen(stage, epoch)
        if stage.name == "base":
            return
        if isinstance(training.control, FilterControl):
            found = training.control.plan
        whole = Counter.of(found)
        counter = whole.compact_for(network)
        self.results[stage.name] = trained_record(counter, network, self.plan) | {
            "accuracy": self.history[-1]["accuracy"],
            "quantised_accuracy": self._quantised(network, whole),
            "validation_accuracy": self._validate(network),
            "epochs": stage.epochs,
            "seconds": sum(row["seconds"] for row in self.history if row["method"] == stage.name),
        }
        if stage.name == ("cannon" if "cannon" in config.methods else config.methods[-1]):
            self.kept_plan = counter.plan
            if folder and rank() == 0:
                save(network, found if isinstance(found, AppliedPlan) else None, folder)

    def _test(self) -> Batches:
        return Batches(self.data.test, self.data, 256, shuffle=False, augment=False, seed=0)

    def _quantised(self, network: nn.Module, counter: Counter) -> float | None:
        """The accuracy with the integers and ADCs of the chip, if it is asked for."""
        if not self.config.quantised:
            return None
        train = Batches(self.data.train, self.data, CALIBRATION, shuffle=True, augment=False, seed=self.config.seed)
        samples = next(iter(train))[0].to(self.config.device)
        computed = quantised(network, counter.plan, samples, counter.count(network).keep)
        return evaluate(computed, self._test(), self.config.device)

    def _validate(self, network: nn.Module) -> float | None:
        """The accuracy on the images held out, if any are."""
        if self.held_out is None:
            return None
        batches = Batches(self.held_out, self.data, 256, shuffle=False, augment=False, seed=0)
        return evaluate(network, batches, self.config.device)

    def _state(self, number: int, training: Training) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "identity": self.identity,
            "stage": number,
            "training": training.state_dict(),
            "results": self.results,
            "history": self.history,
            "base": None if self.stages[number].name == "base" else self.base.state_dict(),
        }

    def _sample(self) -> Tensor:
        return self.data.train.images[:1].float().to(self.config.device)

    def _replan(self, network: nn.Module) -> Plan:
        return plan(network, self._sample(), **self._mapping())

    def _mapping(self) -> dict[str, Any]:
        c = self.config
        return {
            "chip": c.chip,
            "targets": c.targets or None,
            "ignore": c.ignore,
            "group_size": c.group_size,
            "order": c.order,
        }
