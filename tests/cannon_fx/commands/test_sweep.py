"""`cannon sweep`: every row is what a plan on that chip says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from cannon_fx import Chip, load, plan
from cannon_fx.cost import cost as price
from cannon_fx.data import load_data
from cannon_fx.networks import digits_net

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]


def test_structures_are_mapped_again(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    words = ("--vary", "noc.flit_bits=16,64", "noc.router.num_vcs=1,2", "--csv", "s.csv", "--plot", "p.svg", "--json")
    assert cannon("sweep", *words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["noc.flit_bits"], row["noc.router.num_vcs"]) for row in rows] == [(16, 1), (16, 2), (64, 1), (64, 2)]
    chip = Chip.load("demo-32nm").dump()
    chip["noc"]["flit_bits"], chip["noc"]["router"]["num_vcs"] = 64, 2
    sample = load_data("digits").train.images[:1].float()
    cost = plan(digits_net(), sample, chip=Chip.parse_data(chip, "changed"), group_size=4).cost()
    assert (rows[3]["energy_pj"], rows[3]["latency_cycles"]) == (cost.energy_pj, cost.latency_cycles)
    with open(tmp_path / "s.csv", encoding="utf-8") as file:
        assert [float(row["energy_pj"]) for row in csv.DictReader(file)] == [row["energy_pj"] for row in rows]
    assert "Pareto front" in (tmp_path / "p.svg").read_text("utf-8")


def test_constants_agree_with_mapping_again(cannon: Cannon, capsys: Output) -> None:
    """The formula's flit_bits and link_mm against the same changes in the chip's file, with constant energies."""
    assert cannon("sweep", "--vary", "link_mm=1:4:4", "chip=demo-32nm,isaac", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["link_mm"] for row in rows] == [1, 2, 3, 4] * 2
    first, second, third, fourth = (row["energy_pj"] for row in rows[:4])
    assert second - first == pytest.approx(fourth - third) == pytest.approx(third - second)
    sample = load_data("digits").train.images[:1].float()
    assert first == pytest.approx(plan(digits_net(), sample, chip="demo-32nm", group_size=4).cost().energy_pj)
    assert rows[0]["latency_cycles"] is None


def test_what_cannot_be_is_left_out(cannon: Cannon, capsys: Output) -> None:
    assert cannon("sweep", "--vary", "crossbar.columns=4,32") == 0
    out = capsys.readouterr().out
    assert "1 points" in out
    assert "left out: chip 'demo-32nm with crossbar.columns = 4'" in out
    assert "holds no weight of 8 bits" in " ".join(out.split())


STUDY = (
    "--model",
    "torch.nn:Sequential(Conv2d(1, 24, 3), ReLU(), Flatten(), Linear(384, 3))",
    "--data",
    "npz:data.npz",
)
STUDY += ("--chip", "demo-32nm", "--group-size", "4", "--epochs", "4", "--batch-size", "30")
STUDY += ("--vary", "budget=energy/1.5,energy/900", "seed=0,1")


def bright_columns() -> None:
    """A data set in the current folder that a network of two layers learns in seconds."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = rng.integers(0, 120, (60, 6, 6), dtype=np.uint8)
    images[np.arange(60), labels] += 100
    np.savez("data.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def test_a_study_retrains_at_every_point(cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    pytest.importorskip("optuna", reason="needs the extra cannon-fx[study]")
    bright_columns()
    files = ("--csv", "s.csv", "--plot", "p.svg", "--json")
    assert cannon("sweep", *STUDY, "--study", "straight", *files) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["budget"], row["seed"]) for row in rows] == [
        ("energy/1.5", 0), ("energy/1.5", 1), ("energy/900", 0), ("energy/900", 1)
    ]  # fmt: skip
    assert all("cannot be met" in row["error"] for row in rows[2:])
    for row in rows[:2]:
        model = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3))
        found = load(tmp_path / "straight" / f"trial{row['trial']}", model)
        assert row["energy_pj"] == found.cost().energy_pj <= price(found, found.full()).energy_pj / 1.5
        assert row["tops_per_watt"] > 0
    with open(tmp_path / "s.csv", encoding="utf-8") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1", "0", "1"]
    assert "accuracy" in (tmp_path / "p.svg").read_text("utf-8")


def test_a_study_that_was_stopped_goes_on_from_its_checkpoint(
    cannon: Cannon, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="needs the extra cannon-fx[study]")
    bright_columns()
    told = []

    def stop(point: dict[str, Any], epoch: Any) -> None:
        told.append((point["seed"], epoch.epoch))
        if len(told) == 6:  # in the middle of the second point
            raise KeyboardInterrupt

    monkeypatch.setattr("cannon_fx.commands.sweep._tell", stop)
    assert cannon("sweep", *STUDY, "--study", "stopped", "--json") == 130
    assert "is safe in stopped. Go on with:" in capsys.readouterr().err
    assert cannon("sweep", *STUDY, "--study", "stopped", "--json", "--quantised") == 2
    assert "begun with other options" in capsys.readouterr().err
    rows = []
    for folder in ("stopped", "stopped", "straight"):
        assert cannon("sweep", *STUDY, "--study", folder, "--json") == 0
        rows.append(json.loads(capsys.readouterr().out))
        for row in rows[-1]:
            row.pop("seconds", None)
    assert rows[0] == rows[1] == rows[2]
    assert told[4:8] == [(1, 1), (1, 2), (1, 3), (1, 4)]


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "nothing is varied"),
    "no values": (("--vary", "noc.flit_bits"), "is not NAME=VALUES"),
    "unknown": (("--vary", "noc.flitbits=1,2"), "Did you mean noc.flit_bits"),
    "twice": (("--vary", "batch=1,2", "batch=3"), "--vary batch is given twice"),
    "no range": (("--vary", "link_mm=1:2"), "is no range"),
    "a range through zero": (("--vary", "link_mm=0:2:3:log"), "is no range"),
    "a word": (("--vary", "link_mm=short"), "link_mm is a number"),
    "negative": (("--vary", "link_mm=-1,1"), "not numbers of at least 0"),
    "too many": (("--vary", "link_mm=1:2:1000000", "batch=1,2"), "2,000,000 points are too many"),
    "nothing can be": (("--vary", "noc.flit_bits=0,-1"), "no point can be"),
    "no folder": (("--vary", "batch=1,2", "--csv", "nowhere/s.csv"), "a folder that does not exist"),
    "no picture": (("--vary", "noc.flit_bits=16,32", "--plot", "p.txt"), "end it with .svg"),
    "a budget without a study": (("--vary", "budget=energy/2"), "Give --study FOLDER too"),
    "epochs without a study": (("--vary", "batch=1,2", "--epochs", "3"), "nothing is retrained without --study"),
    "a study of bits": (("--study", "s", "--vary", "noc.flit_bits=1,2"), "a study varies budget, chip, seed"),
    "no budget": (("--study", "s", "--vary", "budget=half"), "budget 'half' is not understood"),
    "no chip": (("--study", "s", "--vary", "chip=siam"), "unknown chip 'siam'"),
    "no seed": (("--study", "s", "--vary", "seed=-1,1"), "a seed is a whole number"),
    "a seed twice": (("--study", "s", "--vary", "seed=1,1"), "gives a value twice"),
    "a study of a shape": (("--study", "s", "--vary", "seed=1", "--input-shape", "1", "8"), "leave it out and give"),
    "no latency": (("--vary", "batch=1,2", "--plot", "p.svg"), "says nothing of latency"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, cannon: Cannon, tmp_path: Path, capsys: Output) -> None:
    words, expected = MISTAKES[mistake]
    assert cannon("sweep", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
