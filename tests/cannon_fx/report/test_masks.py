"""The picture of the connections: every kept one is drawn, no cut one is, and none lies outside or on another."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cannon_fx.report.masks import WIDE, mask_figure

SVG = "{http://www.w3.org/2000/svg}"


def layer(name: str, keep: Any) -> dict[str, Any]:
    return {
        "name": name, "column_blocks": keep.shape[0], "connections": keep.size, "kept": int(keep.sum()),
        "keep": np.packbits(keep).tobytes().hex(),
    }  # fmt: skip


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(st.lists(masks, min_size=1, max_size=4))
def test_kept_connections_are_drawn(keeps: list[Any]) -> None:
    layers = [layer(f"layer{k}", keep) for k, keep in enumerate(keeps)]
    numbers = {each["name"]: k for k, each in enumerate(layers, start=1)}
    svg = ElementTree.fromstring(mask_figure(layers, numbers).svg)
    paths = [path.attrib["d"] for path in svg.iter(f"{SVG}path")]
    for keep, path in zip(keeps, paths, strict=True):
        drawn = np.zeros(keep.shape, int)
        for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            drawn[int(y), int(x) : int(x) + int(length)] += 1
        assert (drawn == keep).all()


def numbers_in(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", text)]


def test_masks_stand_beside_each_other_inside_the_picture() -> None:
    rng = np.random.default_rng(0)
    layers = [layer(f"block{k}.conv", rng.random((k % 7 + 1, 40 * k + 1)) < 0.5) for k in range(12)]
    figure = mask_figure(layers, {each["name"]: k for k, each in enumerate(layers)})
    svg = ElementTree.fromstring(figure.svg)
    height = float(svg.attrib["viewBox"].split()[3])
    boxes = []
    for group in svg.iter(f"{SVG}g"):
        inner = group.find(f"{SVG}g")
        if inner is not None:
            x, y = numbers_in(group.attrib["transform"])
            left, top, wide, high = numbers_in(inner.attrib["transform"])
            rect = inner[0].attrib
            boxes.append((x, y, x + left + float(rect["width"]) * wide, y + top + float(rect["height"]) * high))
    assert len(boxes) == 12
    assert all(right <= WIDE + 0.1 and bottom <= height for _, _, right, bottom in boxes)
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
