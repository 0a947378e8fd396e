"""A sweep whose points take long: an Optuna study in a folder that several workers, on several machines, share.

Every point is a trial, enqueued at the start. A worker takes a trial together with a lock on its folder, which the
system lets go when the worker dies, however it dies. So a trial that runs and whose folder is free was a dead worker's:
it is taken up again, before any other, with what was left in its folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cannon_fx.errors import CannonError, RunError
from cannon_fx.hw.errors import ChipError
from cannon_fx.shared_folder import claimed

if TYPE_CHECKING:
    from cannon_fx.sweep.axes import Axis

Row = dict[str, Any]
Objective = Callable[[Row, Path], Row]
"""From a point and the folder of its trial to what is found there, with accuracy and energy_pj among it."""

JOURNAL, NAME = "study.journal", "cannon_fx"


def optuna() -> Any:
    """The package, which only studies need. Raises RunError when it is missing."""
    try:
        import optuna
    except ImportError:
        raise RunError("a study needs the package optuna: pip install 'cannon-fx[study]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True, eq=False)
class Study:
    """The study in `folder`, which exists, of all points of `axes`. It is `optuna.Study` of accuracy and energy."""

    folder: Path
    axes: tuple[Axis, ...]
    study: Any

    @classmethod
    def open(cls, folder: Path, axes: Sequence[Axis]) -> Study:
        """Begins it, or goes on with the one of these axes."""
        storage = optuna().storages
        journal = storage.journal.JournalFileBackend(str((folder / JOURNAL).absolute()))
        with claimed(folder, wait=True):
            study = optuna().create_study(
                storage=storage.JournalStorage(journal),
                study_name=NAME,
                directions=["maximize", "minimize"],
                load_if_exists=True,
            )
            for values in itertools.product(*(axis.values for axis in axes)):
                point = {axis.name: value for axis, value in zip(axes, values, strict=True)}
                study.enqueue_trial(point, skip_if_exists=True)
        return cls(folder, tuple(axes), study)

    def work(self, objective: Objective) -> None:
        """Runs trials until all are finished, here or by other workers. A point that cannot be is a failed trial."""
        states = optuna().trial.TrialState
        while self._trials(states.WAITING, states.RUNNING):
            with self._taken() as trial:
                if trial is not None:
                    self._run(trial, objective)
                    continue
            for running in self._trials(states.RUNNING):  # by others: wait until the first is finished, or left
                with claimed(self.trial_folder(running.number), wait=True):
                    break

    def rows(self) -> list[Row]:
        """Of each trial its point, and what was found or why it failed under `error`; unfinished ones have neither."""
        trials = sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        return [
            trial.system_attrs["fixed_params"] | trial.user_attrs.get("found", {}) | {"trial": trial.number}
            for trial in trials
        ]

    def trial_folder(self, number: int) -> Path:
        """Where a trial's worker leaves what it has."""
        return self.folder / f"trial{number}"

    def _trials(self, *states: Any) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False, states=states)
        return found

    @contextmanager
    def _taken(self) -> Iterator[Any]:
        """A trial with its folder claimed: one that a dead worker has left, else a new one, else None."""
        states = optuna().trial.TrialState
        with ExitStack() as held:
            with claimed(self.folder, wait=True):
                trial = None
                for left in self._trials(states.RUNNING):
                    free = held.enter_context(claimed(self.trial_folder(left.number), wait=False))
                    if free and left.number in (t.number for t in self._trials(states.RUNNING)):  # not finished since
                        trial = optuna().trial.Trial(self.study, left._trial_id)
                        break
                if trial is None and self._trials(states.WAITING):
                    trial = self.study.ask()
                    held.enter_context(claimed(self.trial_folder(trial.number), wait=True))
            yield trial

    def _run(self, trial: Any, objective: Objective) -> None:
        point = {axis.name: trial.suggest_categorical(axis.name, axis.values) for axis in self.axes}
        try:
            found = objective(point, self.trial_folder(trial.number))
        except (CannonError, ChipError) as error:
            trial.set_user_attr("found", {"error": str(error)})
            self.study.tell(trial, state=optuna().trial.TrialState.FAIL)
        else:
            trial.set_user_attr("found", found)
            self.study.tell(trial, (found["accuracy"], found["energy_pj"]))
