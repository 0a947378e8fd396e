"""Weights for a network to begin with: from both kinds of files, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from cannon_fx.errors import RunError
from cannon_fx.factory import load_weights


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_come_back(make_network: Callable[[], nn.Module], tmp_path: Path, name: str) -> None:
    network, fresh = make_network(), make_network()
    with torch.no_grad():
        network.head.weight.normal_()
    save = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(network.state_dict(), tmp_path / name)
    load_weights(fresh, tmp_path / name)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_a_damaged_file_is_named(network: nn.Module, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"weights\.safetensors' cannot be loaded into TinyNet"):
        load_weights(network, path)


def test_weights_of_another_network_are_refused(network: nn.Module, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(RunError, match="Give a state_dict of this network"):
        load_weights(network, tmp_path / "other.pt")
