"""The pages in headless Chromium: no error, no request, no sideways scrolling on a phone, and usable by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from reports import HOSTILE, record_of_a_run, rename

from cannon_fx.report import render_html
from cannon_fx.report.comparison import RunResult
from cannon_fx.report.comparison_page import render_comparison

PROGRAM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, one whose names are all markup, and two runs compared."""
    record, folder = record_of_a_run(), tmp_path_factory.mktemp("pages")
    hostile = rename(record, HOSTILE)
    runs = [RunResult(name, folder, each, {}) for name, each in (("a", record), ("b", hostile))]
    texts = {"run": render_html(record), "hostile": render_html(hostile), "comparison": render_comparison(runs)}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["run", "hostile", "comparison"])
def test_a_page_is_quiet_and_fits(name: str, width: int, scheme: str, browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages[name], width, scheme)
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('img, script[src], link[href]:not([href^=\"data:\"])').length") == 0
    assert browser.problems == []
    assert browser.requests == [pages[name].as_uri()]


def test_the_theme_follows_the_reader(browser: Browser, pages: dict[str, Path]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    found = []
    for scheme in ("light", "dark"):
        browser.open(pages["run"], 1280, scheme)
        found.append(browser.value(background))
    assert found == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def go_to_the_plan(browser: Browser) -> None:
    """With the key Tab alone."""
    for _ in range(40):
        browser.press("Tab")
        if browser.value("document.activeElement.matches('svg.chip')"):
            return
    raise AssertionError("Tab never reaches a floor plan")


def seen(browser: Browser) -> str:
    return str(browser.value("document.querySelector('.seen').innerText"))


def test_the_keyboard_reaches_tiles_and_who_sends_what(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 1280)
    go_to_the_plan(browser)
    assert "tile 0 at (0, 0): stem, row block 0, column block 0, 60.0 % of its cells in use" in seen(browser)
    assert (
        "to (1, 0), 100 flits: input of stem, the port to tile 1: 91; moves for add, tile 0 to tile 2: 6; 3 more"
        in (seen(browser))
    )
    browser.press("ArrowRight")
    assert "to (0, 0), 25 flits: partial sums of stem, tile 1 to tile 0: 25" in seen(browser)
    browser.press("ArrowUp")
    browser.press("ArrowRight")  # the edge of the chip
    assert "tile 1 at (1, 0)" in seen(browser)
    browser.press("ArrowDown")
    assert "tile 2 at (1, 1): head" in seen(browser)


def test_pointing_at_a_link_names_its_transfers_in_both_plans(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 1280)
    link = "document.querySelector('.link[data-at=\"0,0-1,0\"]')"
    browser.value(f"{link}.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))")
    dense, cannon = seen(browser).split("cannon")
    assert "(0, 0) to (1, 0): 100 flits" in dense
    assert "(0, 0) to (1, 0): 25 flits" in cannon


def test_choosing_a_layer_dims_the_others(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["run"], 1280)
    browser.value("document.querySelector('button[data-layer=\"2\"]').focus()")
    browser.press("Enter")
    dimmed = "[...document.querySelectorAll('.dim')].map(tile => tile.dataset.tile).join()"
    assert browser.value(dimmed) == "0,1,0,1"
    browser.press("Enter")
    assert browser.value(dimmed) == ""


def test_hostile_names_are_shown_as_text(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"], 1280)
    go_to_the_plan(browser)
    assert "stem" + HOSTILE in seen(browser)
    assert browser.value("document.querySelectorAll('.seen *').length") == browser.value(
        "document.querySelectorAll('.seen dl, .seen dt, .seen dd').length"
    )
