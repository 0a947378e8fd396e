"""A record to draw."""

from __future__ import annotations

from typing import Any

import pytest
from reports import record_of_a_run


@pytest.fixture
def record() -> dict[str, Any]:
    return record_of_a_run()
