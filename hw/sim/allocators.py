"""What the two separable allocators of a router share. They are iSLIP, one iteration, round robin on both sides.

Each output offers itself to the first requester from its pointer on; each requester takes the first offer
from its own. Both pointers move behind a pair that was made, so a pair that has just won comes last.
A pointer may stand one past the end, which means the beginning.
"""

from __future__ import annotations

from ..compiled import inlined, lowest
from .state import Settings


@inlined
def first_from(mask: int, start: int) -> int:
    """Index of the first set bit of a nonzero mask, from `start` on and around."""
    above = mask >> start
    return start + lowest(above) if above != 0 else lowest(mask)


@inlined
def beyond(index: int, start: int, size: int) -> int:
    """How far `index` lies beyond `start` in a circle of `size`."""
    return index - start if index >= start else index - start + size


@inlined
def usable_vcs(s: Settings, vc_class: int) -> int:
    """Mask of the VCs of a class; of all for -1."""
    begin, end = vc_class * s.vcs // s.vc_classes, (vc_class + 1) * s.vcs // s.vc_classes
    return (1 << end) - (1 << begin) if vc_class >= 0 else (1 << s.vcs) - 1
