"""Every public name says what it is, has types, and stands in the API reference."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import cannon_fx

MODULES = ("cannon_fx", "cannon_fx.data")


def functions_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The value itself if it is a function, or the public methods and properties that a class adds to its fields."""
    if not inspect.isclass(value):
        yield "", value
        return
    for name in sorted(vars(value).keys() - getattr(value, "__dataclass_fields__", {}).keys()):
        member = vars(value)[name]
        if isinstance(member, property | cached_property):
            member = member.fget if isinstance(member, property) else member.func
        function = getattr(member, "__func__", member)  # of a class method
        if inspect.isfunction(function) and not name.startswith("_"):
            yield f".{name}", function


FUNCTIONS = [
    pytest.param(function, id=f"{name}{method}")
    for module in MODULES
    for name in importlib.import_module(module).__all__
    for method, function in functions_of(getattr(importlib.import_module(module), name))
]


@pytest.mark.parametrize("name", cannon_fx.__all__)
def test_says_what_it_is(name: str) -> None:
    """In words of its own: a dataclass without a docstring is given its signature."""
    text = inspect.getdoc(getattr(cannon_fx, name)) or ""
    assert len(text) > 20
    assert not text.startswith(f"{name}(")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_has_types_and_words(function: Any) -> None:
    assert function.__doc__
    signature = inspect.signature(function)
    untyped = [
        p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")
    ]
    assert not untyped
    assert signature.return_annotation is not signature.empty


def test_stands_in_the_reference(tmp_path: Path) -> None:
    """With its source, and the words of its docstring."""
    pytest.importorskip("pdoc", reason="pdoc, of the dev extra, is not installed")
    runpy.run_path(str(Path(__file__).parents[1] / "docs" / "reference.py"))["write"](tmp_path)
    page = (tmp_path / "cannon_fx.html").read_text("utf-8")
    for name in cannon_fx.__all__:
        assert f'<section id="{name}">' in page
    for name in ("plan", "apply_cannon", "load", "retrain", "explain"):
        section = page.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        assert "View Source" in section
        first = (inspect.getdoc(getattr(cannon_fx, name)) or "").partition("\n")[0]
        plain = re.sub("<[^>]+>", "", section)
        assert re.sub("[`*]", "", first)[:40] in plain.replace("&quot;", '"')
