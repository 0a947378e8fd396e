"""The mesh: hops and link loads against walking every path link by link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannon_fx.hw.noc import EAST, NORTH, SOUTH, STEP, WEST, Mesh


def path(mesh: Mesh, source: int, target: int) -> list[tuple[int, int, int]]:
    """Links (direction, y, x) of the XY route: each leaves router (x, y)."""
    x, y = source % mesh.columns, source // mesh.columns
    links = []
    while x != target % mesh.columns:
        east = target % mesh.columns > x
        links.append((EAST if east else WEST, y, x))
        x += 1 if east else -1
    while y != target // mesh.columns:
        south = target // mesh.columns > y
        links.append((SOUTH if south else NORTH, y, x))
        y += 1 if south else -1
    return links


def test_directions_step_as_named() -> None:
    assert [STEP[d] for d in (EAST, WEST, SOUTH, NORTH)] == [(1, 0), (-1, 0), (0, 1), (0, -1)]


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (1, 5), (5, 1), (4, 3), (3, 4)])
def test_every_pair_of_routers_takes_the_xy_route(columns: int, rows: int) -> None:
    mesh = Mesh(columns, rows)
    routers = range(mesh.routers)
    pairs = [(s, t) for s in routers for t in routers]
    source, target = np.array(pairs).T
    assert mesh.routers == columns * rows
    assert mesh.hops(source, target).tolist() == [len(path(mesh, s, t)) for s, t in pairs]
    loads = mesh.link_loads(np.arange(len(pairs)), source, target, np.ones_like(source), len(pairs))
    assert loads.shape == (len(pairs), 4, rows, columns)
    for load, (s, t) in zip(loads, pairs, strict=True):
        assert sorted(zip(*map(list, np.nonzero(load)), strict=True)) == sorted(path(mesh, s, t))
        assert load.max() <= 1


@settings(max_examples=80, deadline=None)
@given(data=st.data(), columns=st.integers(1, 6), rows=st.integers(1, 6), phases=st.integers(1, 3))
def test_loads_of_many_transfers_add_up(data: st.DataObject, columns: int, rows: int, phases: int) -> None:
    mesh = Mesh(columns, rows)
    router = st.integers(0, mesh.routers - 1)
    transfer = st.tuples(st.integers(0, phases - 1), router, router, st.integers(0, 10**6))
    transfers = data.draw(st.lists(transfer, max_size=30))
    expected = np.zeros((phases, 4, rows, columns), np.int64)
    for phase, source, target, flits in transfers:
        for link in path(mesh, source, target):
            expected[(phase, *link)] += flits
    phase, source, target, flits = np.array(transfers, np.int64).reshape(-1, 4).T
    assert np.array_equal(mesh.link_loads(phase, source, target, flits, phases), expected)


def test_coordinates_count_rows_first() -> None:
    x, y = Mesh(3, 2).coordinates(np.arange(6))
    assert (x.tolist(), y.tolist()) == ([0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1])
