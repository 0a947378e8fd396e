"""The chip's constants with their sources, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Constants = list[tuple[str, str, str]]


def chip_sections(record: Mapping[str, Any]) -> list[tuple[str, Constants]]:
    """(name, value, source) of the chip's constants by section: those at the top, each nested table, the energies."""
    chip, sources = record["chip"], record.get("chip_sources") or {}  # a chip made in Python has none
    top = {key: value for key, value in chip.items() if not isinstance(value, Mapping)}
    sections = [("chip", _constants(top, "", sources))] if top else []
    for key, value in chip.items():
        if isinstance(value, Mapping):
            sections.append((key, _constants(value, f"{key}.", sources)))
    model = text((chip.get("energy") or {}).get("model", "of the chip's file"))
    energies = [(key, f"{value:.4g}", f"energy model {model}") for key, value in record["noc_energy"].items()]
    return [*sections, ("energies that follow", energies)] if energies else sections


def _constants(table: Mapping[str, Any], section: str, sources: Mapping[str, str], prefix: str = "") -> Constants:
    found: Constants = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _constants(value, section, sources, f"{prefix}{key}.")
        else:
            name = prefix + key
            found.append((name, text(value), sources.get(section + name, "")))
    return found


def text(value: Any) -> str:
    """A constant as it stands in the chip's file; None, a field that was left open, as 'not set'."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return str(value)
