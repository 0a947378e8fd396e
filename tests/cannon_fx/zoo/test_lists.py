"""Other people's models themselves, where their packages are installed: a few by default, all of them when slow."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from cannon_fx.zoo.check import check
from cannon_fx.zoo.entry import Entry
from cannon_fx.zoo.lists import entries_of, names

FEW = {
    "torchvision": ("squeezenet1_1", "swin_t", "vit_b_32", "shufflenet_v2_x0_5"),
    "timm": ("'resnet18'", "convit_tiny", "mobilenetv3_small"),
    "transformers": ("BertModel", "GPT2", "Llama", "Mixtral", "SwinModel"),
}


def entries(name: str, few: bool) -> list[Entry]:
    return [e for e in entries_of(name) if not few or any(part in e.line for part in FEW[name])]


@pytest.mark.parametrize("name", names())
def test_a_few(name: str) -> None:
    run(name, few=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_all(name: str) -> None:
    run(name, few=False)


def run(name: str, few: bool) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    chosen = entries(name, few)
    assert len(chosen) >= len(FEW[name])
    failed = {entry.line: row["error"] for entry in chosen if not (row := check(entry, "siam-32nm"))["ok"]}
    assert not failed
