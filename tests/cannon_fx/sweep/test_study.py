"""Four workers on one study, one of them killed: every trial ends complete, and none is done twice by living ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cannon_fx.errors import RunError
from cannon_fx.shared_folder import open_folder
from cannon_fx.sweep.axes import Axis
from cannon_fx.sweep.study import Study

optuna = pytest.importorskip("optuna", reason="needs the extra cannon-fx[study]")

AXES = (Axis("budget", ("energy/2", "energy/3", "energy/4")), Axis("seed", (0, 1, 2)))

WORKER = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace as Axis  # the class itself draws in sympy
from cannon_fx.sweep.study import Study

axes = Axis(name="budget", values=("energy/2", "energy/3", "energy/4")), Axis(name="seed", values=(0, 1, 2))

def objective(point, folder):
    before = len(list(folder.glob("begun*")))
    (folder / f"begun{os.getpid()}").touch()
    time.sleep(0.4)
    return {"accuracy": 0.9 + point["seed"] / 100, "energy_pj": float(point["budget"][-1]), "begun_before": before}

print("ready", flush=True)
sys.stdin.readline()
Study.open(Path(sys.argv[1]), axes).work(objective)
"""


def objective(point: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"accuracy": 0.9 + point["seed"] / 100, "energy_pj": float(point["budget"][-1])}


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    doomed = workers[2]
    while not (begun := list(tmp_path.glob(f"trial*/begun{doomed.pid}"))):
        time.sleep(0.01)
    os.kill(doomed.pid, signal.SIGKILL)
    for worker in workers:
        worker.communicate(timeout=120)
    assert [worker.returncode for worker in workers] == [0, 0, -signal.SIGKILL, 0]

    study = Study.open(tmp_path, AXES)
    assert [trial.state.name for trial in study.study.trials] == ["COMPLETE"] * 9
    rows = study.rows()
    points = {(row["budget"], row["seed"]) for row in rows}
    assert points == {(budget, seed) for budget in AXES[0].values for seed in AXES[1].values}
    for row in rows:
        assert row["energy_pj"] == float(row["budget"][-1])
        left = tmp_path / f"trial{row['trial']}" == begun[-1].parent
        assert row["begun_before"] == (1 if left else 0)  # every other trial had one worker


def test_trials_of_a_dead_worker_are_taken_up_first(tmp_path: Path) -> None:
    """Also where it died between taking the trial and beginning it."""
    study = Study.open(tmp_path, AXES)
    study.study.ask()
    seen: list[str] = []

    def watched(point: dict[str, Any], folder: Path) -> dict[str, Any]:
        seen.append(folder.name)
        return objective(point, folder)

    Study.open(tmp_path, AXES).work(watched)
    assert seen == [f"trial{number}" for number in range(9)]
    assert {trial.state.name for trial in study.study.trials} == {"COMPLETE"}


def test_an_interrupted_study_goes_on_and_is_not_done_again(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def stopped(point: dict[str, Any], folder: Path) -> dict[str, Any]:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(point)
        return objective(point, folder)

    with pytest.raises(KeyboardInterrupt):
        Study.open(tmp_path, AXES).work(stopped)
    assert sum("accuracy" in row for row in Study.open(tmp_path, AXES).rows()) == 4

    def rest(point: dict[str, Any], folder: Path) -> dict[str, Any]:
        seen.append(point)
        return objective(point, folder)

    for _ in range(2):
        Study.open(tmp_path, AXES).work(rest)
    assert len(seen) == len({json.dumps(point) for point in seen}) == 9
    best = Study.open(tmp_path, AXES).study.best_trials  # the front: most accurate and cheapest
    assert [trial.params for trial in best] == [{"budget": "energy/2", "seed": 2}]


def test_what_cannot_be_fails_with_a_reason(tmp_path: Path) -> None:
    def refused(point: dict[str, Any], folder: Path) -> dict[str, Any]:
        if point["budget"] == "energy/4":
            raise RunError("too little")
        return objective(point, folder)

    study = Study.open(tmp_path, AXES)
    study.work(refused)
    assert [row.get("error") for row in study.rows()] == [None] * 6 + ["too little"] * 3


def test_a_folder_holds_one_study(tmp_path: Path) -> None:
    open_folder(tmp_path / "s", "a = 1\n", "study", "give them again")
    open_folder(tmp_path / "s", "a = 1\n", "study", "give them again")
    with pytest.raises(RunError, match="begun with other options: give them again"):
        open_folder(tmp_path / "s", "a = 2\n", "study", "give them again")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(RunError, match="something else"):
        open_folder(tmp_path, "a = 1\n", "study", "")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "mine.txt"}


def test_a_trial_that_ends_while_others_look_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another finishes the trial and lets go of its folder after this worker has seen it run."""
    study, other = Study.open(tmp_path, AXES[:1]), Study.open(tmp_path, AXES[:1])
    theirs = other.study.ask()
    looked: list[int] = []

    def seen(self: Study, *states: Any) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False, states=states)
        if states == (optuna.trial.TrialState.RUNNING,) and not looked:
            looked.append(len(found))
            other.study.tell(theirs, (0.9, 1.0))
        return found

    monkeypatch.setattr(Study, "_trials", seen)
    done: list[str] = []

    def watched(point: dict[str, Any], folder: Path) -> dict[str, Any]:
        done.append(folder.name)
        return objective(point | {"seed": 0}, folder)

    study.work(watched)
    assert looked == [1]
    assert done == ["trial1", "trial2"]
