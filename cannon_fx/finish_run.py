"""One run of many, in a folder of its own: done, or to be done, or to be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.config import RunConfig
from cannon_fx.data import ImageData
from cannon_fx.report import write_report
from cannon_fx.run import CHECKPOINT, CONFIG, Run
from cannon_fx.train.retrain import Epoch

REPORT = "report.json"


def finish_run(
    folder: Path, config: RunConfig, command: str, data: ImageData, listen: Callable[[Epoch], None]
) -> dict[str, Any]:
    """Does what is left of the run in `folder`, which this process has to itself, and returns its record.

    Raises CannonError as Run does, before anything is written.
    """
    if not (folder / REPORT).exists():
        run = Run(config, command, data)
        if (folder / CHECKPOINT).exists():
            run.resume(folder)
        else:
            atomic_write_text(folder / CONFIG, config.toml())
        write_report(run.execute(folder, lambda _, epoch: listen(epoch)), folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    record: dict[str, Any] = json.loads((folder / REPORT).read_text("utf-8"))
    return record
