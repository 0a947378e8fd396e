"""Choosing layers by name: exact name, glob, class name, or "re:" with a regular expression."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from cannon_fx.errors import MappingError


def select(patterns: Iterable[str], classes: Mapping[str, str], role: str) -> set[str]:
    """Names (keys of `classes`, which maps a layer's name to its class name) that some pattern matches.

    Raises MappingError for a pattern that matches nothing; `role` is the option's name.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        # A layer may be named like a class, or hold brackets: its own name comes first.
        hits = {pattern} & set(classes) or {n for n, class_name in classes.items() if _matches(pattern, n, class_name)}
        if not hits:
            near = difflib.get_close_matches(pattern.removeprefix("re:"), classes, n=3, cutoff=0.3)
            listed = ", ".join(near or list(classes)[:3])
            raise MappingError(
                f"{role} pattern {pattern!r} matches none of the {len(classes)} layers. "
                f"Near names: {listed or 'none'}. Use a layer's name, a glob such as 'block1.*', a class name "
                "such as 'Conv2d', or 're:' with a regular expression."
            )
        chosen |= hits
    return chosen


def _matches(pattern: str, name: str, class_name: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.fullmatch(pattern[3:], name) is not None
        except re.error as error:
            raise MappingError(f"pattern {pattern!r} is no regular expression: {error}. Correct it.") from error
    return pattern == class_name or fnmatchcase(name, pattern)
