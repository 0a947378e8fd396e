"""`cannon optimize --quantised`: the accuracy in the record is that of the saved network on the chip's integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from cannon_fx import load, quantised
from cannon_fx.data import Batches, load_data
from cannon_fx.train.evaluate import evaluate


def test_the_accuracy_on_the_chip_is_recorded(
    cannon: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = rng.integers(0, 120, (90, 6, 6), dtype=np.uint8)
    images[np.arange(90), labels] += 100
    np.savez("data.npz", train_images=images, train_labels=labels, test_images=images[:60], test_labels=labels[:60])
    layers = "Conv2d(1, 24, 3), ReLU(), Flatten(), Linear(384, 3)"
    words = ["optimize", "--model", f"torch.nn:Sequential({layers})", "--data", "npz:data.npz", "--chip", "demo-32nm"]
    words += ["--budget", "energy/1.5", "--epochs", "4", "--out", "o", "--batch-size", "30", "--group-size", "4"]
    assert cannon(*words, "--quantised") == 0
    assert "on the chip (%)" in " ".join(capsys.readouterr().out.split())
    method = json.loads((tmp_path / "o" / "report.json").read_text())["methods"]["cannon"]
    model = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3))
    found, data = load("o", model), load_data("npz:data.npz")
    train = next(iter(Batches(data.train, data, 64, shuffle=True, augment=False, seed=0)))[0]
    test = Batches(data.test, data, 256, shuffle=False, augment=False, seed=0)
    assert method["quantised_accuracy"] == evaluate(quantised(model, found, train), test)
    assert method["accuracy"] == evaluate(model, test)
