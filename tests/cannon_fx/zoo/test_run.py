"""A list from beginning to end: crashes, time-outs, going on, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Cannon = Callable[..., int]
Output = pytest.CaptureFixture[str]

MODELS = """
import os, time
from torch import nn

class Net(nn.Module):
    def __init__(self, misdeed=None):
        super().__init__()
        self.fc, self.misdeed = nn.Linear(8, 8), misdeed
    def forward(self, x):
        if self.misdeed == "die":
            os._exit(3)
        if self.misdeed == "sleep":
            time.sleep(100)
        return self.fc(x)
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_kills_its_process_is_a_row_and_the_rest_goes_on(models: Path, cannon: Cannon, capsys: Output) -> None:
    (models / "list.txt").write_text("mine:Net(misdeed='die') 2,8\nmine:Net(misdeed='sleep') 2,8\nmine:Net 2,8\n")
    assert cannon("zoo", "--list", "list.txt", "--json", "z.json", "--timeout", "20") == 2
    rows = json.loads((models / "z.json").read_text())["rows"]
    assert [row["error"] for row in rows] == ["its process died", "took more than 20 s", None]
    printed = capsys.readouterr()
    assert "1 of 3 models pass" in printed.out
    assert "2 models failed, the first of them mine:Net(misdeed='die') 2,8" in printed.err
    # Rows that are there are not computed again, whatever the model would do now.
    (models / "mine.py").write_text("raise SystemExit")
    assert cannon("zoo", "--list", "list.txt", "--json", "z.json") == 2
    assert json.loads((models / "z.json").read_text())["rows"] == rows
    # With --retry, those that failed are.
    (models / "mine.py").write_text(MODELS.replace("self.misdeed ==", "None =="))
    assert cannon("zoo", "--list", "list.txt", "--json", "z.json", "--retry") == 0


def test_a_file_of_something_else_is_refused(models: Path, cannon: Cannon, capsys: Output) -> None:
    (models / "z.json").write_text('{"schema": 1, "chip": "isaac", "rows": []}')
    (models / "list.txt").write_text("mine:Net 2,8\n")
    assert cannon("zoo", "--list", "list.txt", "--json", "z.json") == 2
    assert "holds no zoo result for chip siam-32nm" in capsys.readouterr().err
