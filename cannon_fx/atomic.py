"""Write a file whole or not at all: readers see the old content or the new, never a half."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; on any failure the old file stays and no temporary file is left.

    Raises OSError with the name `path`.
    """
    path = Path(path)
    # Same folder, so that the replace stays on one file system; a plain open (not mkstemp, which makes
    # files that only their owner may read) so that the result has the user's usual permissions.
    temporary = path.parent / f".cannon-{secrets.token_hex(6)}.tmp"
    try:
        with open(temporary, "xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # KeyboardInterrupt too: an interrupted run must not litter
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            # An error that Python code made may have a text and no strerror.
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of `text` as UTF-8, with its line endings as they are."""
    atomic_write_bytes(path, text.encode("utf-8"))
