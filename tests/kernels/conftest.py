"""Memory that a kernel forgets to write holds NaN, and stays so until a test has looked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # fill_uninitialized_memory is on by default then
    yield
    torch.use_deterministic_algorithms(False)
