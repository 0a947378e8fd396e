"""A whole comparison of small runs: resumed after a kill, recounted, shown; and the arithmetic of its summary."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recount import energy_pj

from cannon_fx.checkpoint import Checkpoints
from cannon_fx.compare.config import CompareConfig
from cannon_fx.compare.rows import Outcome
from cannon_fx.compare.runs import execute, finished, open_folder
from cannon_fx.compare.summary import COSTS, advantages, points, same_energy
from cannon_fx.errors import RunError

WORDS = ("--methods", "dense", "unstructured", "cannon", "--budgets", "energy/2", "energy/900", "--dense-epochs", "2")
WORDS += ("--epochs", "2", "--batch-size", "400", "--order", "snake", "--out", "here")
KEYS = {"network", "data", "chip", "method", "seed", "dense_accuracy", "accuracy", "energy_pj", "latency_cycles"}
KEYS |= {"edp_pj_cycles", "latency_model", "density", "epochs", "device"}


def numbers(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record["runs"]]


def test_a_comparison_from_the_command_line(cannon: Callable[..., int], tmp_path: Path) -> None:
    assert cannon("compare", *WORDS) == 0
    folder = tmp_path / "here"
    record = json.loads((folder / "compare.json").read_text())
    assert record["schema"] == 1
    assert [row["method"] for row in record["runs"]] == ["dense", "unstructured", "cannon"]
    assert all(row.keys() >= KEYS for row in record["runs"])
    assert [(r["method"], r["budget"]) for r in record["refused"]] == [
        ("unstructured", "energy/900"),
        ("cannon", "energy/900"),
    ]
    dense = record["runs"][0]
    for row in record["runs"][1:]:
        assert row["dense_accuracy"] == dense["accuracy"]
        # unstructured lands where its weights were; mapped anew, channels that nobody needs save a little more
        least = {"unstructured": 0.75, "cannon": 0.97}[row["method"]]
        assert least * dense["energy_pj"] / 2 < row["energy_pj"] <= dense["energy_pj"] / 2
        assert row["edp_pj_cycles"] == row["energy_pj"] * row["latency_cycles"]
        assert row["latency_model"] == "simulated"
    page = (folder / "compare.html").read_text()
    assert "digits_net on demo-32nm" in page
    assert page.count("<svg") == 3

    # The table's energies, counted again by a script that reads the transfers alone.
    recounted = dict(energy_pj(json.loads(p.read_text())) for p in folder.rglob("report.json") if "base" not in p.parts)
    assert recounted == pytest.approx({row["method"]: row["energy_pj"] for row in record["runs"]}, rel=1e-12, abs=0)

    # What is finished is not done again; what is gone is done again, to the same numbers.
    shutil.rmtree(folder / "digits_net" / "demo-32nm" / "cannon")
    kept = (folder / "digits_net/demo-32nm/unstructured/energy-2/seed0/report.json").stat().st_mtime_ns
    assert cannon("compare", *WORDS) == 0
    assert numbers(json.loads((folder / "compare.json").read_text())) == numbers(record)
    assert (folder / "digits_net/demo-32nm/unstructured/energy-2/seed0/report.json").stat().st_mtime_ns == kept
    assert cannon("compare", "--config", "here/config.toml", "--out", "here") == 0
    assert numbers(json.loads((folder / "compare.json").read_text())) == numbers(record)


def config(**changes: Any) -> CompareConfig:
    options = {
        "networks": ("cannon_fx.networks:digits_net",), "data": "digits", "chips": ("demo-32nm",),
        "methods": ("dense", "block-magnitude"), "budgets": ("energy/2",), "seeds": 1, "base_weights": (),
        "dense_epochs": 0, "epochs": 3, "batch_size": 400, "learning_rates": (0.05,), "group_size": 4,
        "order": "snake", "bfloat16": False, "accumulate": 1, "distill": 0.0, "device": "cpu",
    }  # fmt: skip
    return CompareConfig(**options | changes)


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("kill", [2, 12, 21])
def test_killed_at_any_step_and_called_again_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    """Three steps and the end of each of three epochs, of two runs; killed in the first, at its end, in the second."""
    wrote, count = Checkpoints.write, 0

    def write_and_stop(self: Checkpoints, state: dict[str, Any]) -> None:
        nonlocal count
        wrote(self, state)
        count += 1
        if count == kill:
            raise Killed

    def run(name: str) -> list[Outcome]:
        open_folder(config(), tmp_path / name)
        return execute(config(), tmp_path / name, "", lambda *_: None, checkpoint_seconds=0)

    straight = run("straight")
    monkeypatch.setattr(Checkpoints, "write", write_and_stop)
    with pytest.raises(Killed):
        run("killed")
    resumed = run("killed")
    assert count == 2 * 3 * 4
    for one, other in zip(resumed, straight, strict=True):
        (method,) = one.config.methods
        for key in ("accuracy", "energy_pj", "transfers"):
            assert one.record["methods"][method][key] == other.record["methods"][method][key]
    weights = sorted(
        path.relative_to(tmp_path / "straight") for path in tmp_path.glob("straight/**/weights.safetensors")
    )
    assert len(weights) == 2
    for path in weights:
        assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "straight" / path).read_bytes()


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    """While another holds a run, this one does the rest, and then waits for it."""
    open_folder(config(), tmp_path)
    held, *rest = [job.name for job in config().jobs(tmp_path)]
    (tmp_path / held).mkdir(parents=True)
    done: list[str] = []
    with open(tmp_path / held / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def watch(job: str, state: str, epoch: Any) -> None:
            done.append(job)
            if job == rest[-1] and epoch.epoch == 3:
                fcntl.flock(lock, fcntl.LOCK_UN)

        outcomes = execute(config(), tmp_path, "", watch)
    assert list(dict.fromkeys(done)) == [*rest, held]
    assert len(outcomes) == 1 + len(rest)


def test_a_folder_of_other_options_is_refused(tmp_path: Path) -> None:
    open_folder(config(), tmp_path)
    with pytest.raises(RunError, match="begun with other options"):
        open_folder(config(epochs=4), tmp_path)
    (tmp_path / "config.toml").rename(tmp_path / "something.toml")
    with pytest.raises(RunError, match="something else"):
        open_folder(config(), tmp_path)


def test_every_run_shares_the_options_and_seeds_come_whole(tmp_path: Path) -> None:
    jobs = list(config(seeds=2, chips=("demo-32nm", "siam-32nm"), budgets=("energy/2", "energy/3")).jobs(tmp_path))
    assert len(jobs) == len({job.name for job in jobs}) == 2 * 2 * (1 + 2)
    assert [job.config.seed for job in jobs] == [0] * 6 + [1] * 6
    assert not any(finished(job, tmp_path) for job in jobs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("cannon",)}, "must name dense"),
        ({"budgets": ()}, "at least one"),
        ({"networks": ("a:net", "b:net")}, "same name"),
        ({"base_weights": ("a.pt", "b.pt")}, "2 files for 1 networks"),
    ],
)
def test_what_no_comparison_can_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        config(**changes)


def row(network: str, method: str, budget: str | None, seed: int, accuracy: float, cost: float) -> dict[str, Any]:
    return {
        "network": network, "chip": "c", "method": method, "budget": budget, "seed": seed, "accuracy": accuracy,
        "dense_accuracy": 0.9, "density": 1.0, **dict.fromkeys(COSTS, cost),
    }  # fmt: skip


def test_savings_count_only_where_the_accuracy_is_kept() -> None:
    rows = [
        row("a", "dense", None, 0, 0.9, 12.0),
        row("a", "cannon", "energy/3", 0, 0.896, 4.0),
        row("a", "cannon", "energy/6", 0, 0.894, 2.0),  # 0.6 points below
        row("a", "other", "energy/2", 0, 0.895, 6.0),
        row("a", "other", "energy/3", 0, 0.89, 4.0),
        row("b", "dense", None, 0, 0.9, 12.0),
        row("b", "cannon", "energy/3", 0, 0.9, 2.0),
        row("b", "other", "energy/2", 0, 0.5, 6.0),  # counts as dense
        row("c", "dense", None, 0, 0.9, 12.0),
        row("c", "cannon", "energy/3", 0, 0.5, 4.0),  # so does this
    ]
    dense, other = advantages(points(rows))
    assert (dense.method, other.method) == ("dense", "other")
    for cost in COSTS:
        assert dense.times[cost] == {("a", "c"): 3.0, ("b", "c"): 6.0, ("c", "c"): 1.0}
        assert other.times[cost] == {("a", "c"): 1.5, ("b", "c"): 6.0}
        assert other.geometric_mean(cost) == pytest.approx(3.0)


def test_gaps_at_the_same_energy_are_paired_by_seed() -> None:
    rows = [row("a", "cannon", "energy/2", seed, 0.9 + 0.01 * seed, 1.0) for seed in (0, 1)]
    rows += [row("a", "other", "energy/2", seed, 0.88 + 0.02 * seed, 1.0) for seed in (0, 1)]
    (gap,) = same_energy(rows)
    assert (gap["method"], gap["seeds"]) == ("other", 2)
    assert gap["points"] == pytest.approx(1.5)
    assert gap["std"] == pytest.approx(0.5**0.5)
