"""One run of many, in a folder of its own: done, or to be done, or to be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cannon_fx.atomic import atomic_write_text
from cannon_fx.checkpoint import CHECKPOINT, CONFIG, REPORT
from cannon_fx.config import RunConfig
from cannon_fx.data import ImageData
from cannon_fx.report import write_report
from cannon_fx.run import Run
from cannon_fx.train.ranks import first, rank
from cannon_fx.train.training import Epoch


def finish_run(
    folder: Path,
    config: RunConfig,
    command: str,
    data: ImageData,
    listen: Callable[[Epoch], None],
    checkpoint_seconds: float = 60.0,
) -> dict[str, Any]:
    """Does what is left of the run in `folder`, which these processes have to themselves, and returns its record.

    Raises CannonError as Run does, before anything is written.
    """

    def tell(_: object, epoch: Epoch) -> None:
        if rank() == 0:
            listen(epoch)

    def close() -> dict[str, Any]:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        record: dict[str, Any] = json.loads((folder / REPORT).read_text("utf-8"))
        return record

    if not first((folder / REPORT).exists):
        run = Run(config, command, data)
        if first((folder / CHECKPOINT).exists):
            run.resume(folder)
        else:
            first(lambda: atomic_write_text(folder / CONFIG, config.toml()))
        record = run.execute(folder, tell, checkpoint_seconds)
        first(lambda: write_report(record, folder))
    return first(close)
