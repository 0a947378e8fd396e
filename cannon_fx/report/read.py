"""Read the record that a run has left in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cannon_fx.errors import RunError
from cannon_fx.report.schema import Record, described


def read_record(folder: Path) -> dict[str, Any]:
    """What `folder`/report.json holds, as it is there. Raises RunError for anything that is no finished run."""
    path = folder / "report.json"
    try:
        text = path.read_text("utf-8")
        data: Any = json.loads(text)
    except FileNotFoundError as error:
        raise RunError(
            f"{str(folder)!r} is no finished run: there is no report.json in it. Name the folder that "
            "`cannon optimize` wrote."
        ) from error
    except OSError as error:
        raise RunError(f"cannot read {str(path)!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, or no JSON
        raise RunError(f"{str(path)!r} is no JSON: {error}. Do the run again.") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != 1:
        raise RunError(
            f"{str(path)!r} has schema {schema!r:.40}, this cannon_fx reads 1. Show it with the one that wrote it."
        )
    try:
        Record.model_validate_json(text)
    except ValidationError as error:
        raise RunError(
            f"{str(path)!r} is not what this cannon_fx writes: {described(error.errors()[0])}. Do the run again."
        ) from error
    record: dict[str, Any] = data
    return record
