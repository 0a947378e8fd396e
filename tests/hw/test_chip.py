"""Chips: presets load, every invalid value is named with its key, and a dump is the chip again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.hw.router import Router

FOLDER = Path(__file__).parents[2] / "hw" / "chips"
TEXT = (FOLDER / "siam-32nm.toml").read_text("utf-8")
NUMBERS = re.findall(r"^(\w+) = ([\d.]+) ", TEXT, re.MULTILINE)
SECTION_OF = {
    key: section
    for section, body in re.findall(r"^\[([\w.]+)\].*\n((?:.+\n)+)", TEXT, re.MULTILINE)
    for key in re.findall(r"^(\w+) =", body, re.MULTILINE)
}
MAY_BE_ZERO = {
    "routing_delay",
    "credit_delay",
    "read_ns",
    "read_pj_per_cell",
    "driver_pj_per_row",
    "shift_add_pj",
    "accumulate_pj",
}


def changed(key: str, value: str | None) -> str:
    """The preset's text with another value of `key`; None takes the line out."""
    line = "" if value is None else f"{key} = {value}"
    text, hits = re.subn(rf"^{key} = .*$", line, TEXT, flags=re.MULTILINE)
    assert hits == 1
    return text


def refused(text: str, *fragments: str) -> None:
    """Parsing fails with one paragraph that holds the origin and every fragment."""
    with pytest.raises(ChipError) as caught:
        Chip.parse(text, "mine.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    for fragment in ("mine.toml", *fragments):
        assert fragment in message


def test_the_fixture_sees_every_number() -> None:
    assert len(NUMBERS) == 30  # schema and port have tests of their own
    assert set(SECTION_OF) > {key for key, _ in NUMBERS}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_presets_load_by_name_and_by_path(name: str) -> None:
    assert name in Chip.presets()
    chip = Chip.load(name)
    assert chip.name == name
    assert Chip.load(FOLDER / f"{name}.toml") == Chip.load(str(FOLDER / f"{name}.toml")) == chip
    assert Chip.load(chip) is chip


def test_siam_is_what_its_sources_say() -> None:
    chip = Chip.load("siam-32nm")
    assert (chip.tile_rows, chip.tile_columns) == (4 * 128, 4 * 128 // 8)
    assert chip.noc_energy.router_pj_per_flit == pytest.approx(1.3059, abs=1e-4)  # DSENT, 32 nm, 1 VC x 10
    assert chip.noc_energy.link_pj_per_flit == pytest.approx(0.0324 * 32, abs=1e-3)
    assert [chip.noc.router.zero_load_cycles(hops, 1) for hops in (0, 1, 5)] == [7, 12, 32]
    assert chip.static_pj_per_cycle(1, 0) == pytest.approx(4.6871 + 0.1827, abs=1e-4)


@pytest.mark.parametrize("key", [key for key, _ in NUMBERS])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "-inf", '"8"', "true", "[1]", None])
def test_an_invalid_number_is_refused_with_its_key(key: str, value: str | None) -> None:
    if value == "0" and key in MAY_BE_ZERO:
        Chip.parse(changed(key, value), "mine.toml")
        return
    if value is None and SECTION_OF[key] == "noc.router":  # BookSim2's defaults
        assert getattr(Chip.parse(changed(key, value), "mine.toml").noc.router, key) == getattr(Router(), key)
        return
    if (key, value) == ("st_final_delay", "0"):  # together with st_prepare_delay, which is 0 too
        refused(changed(key, value), "noc.router", key)
        return
    refused(changed(key, value), f"{SECTION_OF[key]}.{key}", "is missing" if value is None else "got ")


@pytest.mark.parametrize("key", [key for key, value in NUMBERS if "." not in value])
def test_a_fraction_is_no_count(key: str) -> None:
    refused(changed(key, "1.5"), f"{SECTION_OF[key]}.{key}", "1.5")


@pytest.mark.parametrize("key", ["topology", "routing", "port", "name", "description"])
@pytest.mark.parametrize("value", ['"torus-of-my-own"', "3", "[1]", "[-1, 0]", "[0.5, 0]", "[0, 0, 0]"])
def test_an_invalid_word_or_pair_is_refused(key: str, value: str) -> None:
    if key in ("name", "description") and value.startswith('"'):
        assert getattr(Chip.parse(changed(key, value), "mine.toml"), key) == value.strip('"')
        return
    refused(changed(key, value), key, "is missing" if (key, value) == ("port", "[1]") else "got ")


def test_a_schema_from_the_future_is_refused() -> None:
    refused(changed("schema", "2"), "schema", "got 2")


@pytest.mark.parametrize("key", ["schema", "description", "topology", "flit_bits"])
def test_a_missing_key_is_named(key: str) -> None:
    refused(changed(key, None), f"{key} is missing")


def test_a_missing_section_is_named() -> None:
    refused(TEXT.split("[energy]")[0], "energy is missing")


@pytest.mark.parametrize(
    ("section", "where"), [("", "speed"), ("[noc]", "noc.speed"), ("[precision]", "precision.speed")]
)
def test_an_unknown_key_is_refused(section: str, where: str) -> None:
    text = TEXT.replace(f"{section}\n", f"{section}\nspeed = 3\n", 1) if section else "speed = 3\n" + TEXT
    refused(text, f"{where} is not a key")


def test_all_problems_are_told_at_once() -> None:
    refused(changed("flit_bits", "0").replace("rows = 128", "rows = -3"), "noc.flit_bits", "crossbar.rows", "-3")


def test_bad_toml_is_refused_with_the_place() -> None:
    refused(changed("flit_bits", "= 3"), "not valid TOML", "line")


def test_a_mesh_needs_both_sides_and_its_port() -> None:
    head = TEXT.replace("[noc]\n", "[noc]\ncolumns = 4\n")
    refused(head, "both columns and rows")
    refused(TEXT.replace("[noc]\n", "[noc]\nrows = 4\n"), "both columns and rows")
    both = head.replace("columns = 4\n", "columns = 4\nrows = 3\n")
    Chip.parse(both.replace("port = [0, 0]", "port = [3, 2]"), "mine.toml")
    for port in ("[4, 0]", "[0, 3]"):
        refused(both.replace("port = [0, 0]", f"port = {port}"), "outside the 4 x 3 mesh")


def test_a_tile_that_holds_no_weight_is_refused() -> None:
    narrow = TEXT.replace("columns = 128", "columns = 7")
    refused(narrow, "holds no weight of 8 bits")
    assert Chip.parse(narrow.replace("columns = 7", "columns = 8"), "mine.toml").tile_columns == 4


@pytest.mark.parametrize(
    ("columns", "cell_bits", "weight_bits", "pe_columns", "expected"),
    [(128, 1, 8, 4, 64), (13, 2, 8, 3, 9), (7, 2, 3, 1, 3), (9, 4, 6, 2, 8), (5, 8, 4, 1, 5), (17, 3, 8, 1, 5)],
)
def test_a_weight_never_straddles_two_crossbars(
    columns: int, cell_bits: int, weight_bits: int, pe_columns: int, expected: int
) -> None:
    text = TEXT.replace("columns = 128", f"columns = {columns}")
    for key, value in {"cell_bits": cell_bits, "weight_bits": weight_bits, "pe_columns": pe_columns}.items():
        text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
    assert Chip.parse(text, "mine.toml").tile_columns == expected


CONSTANTS = """[energy]
model = "constants"
router_pj_per_flit = 2.0
link_pj_per_bit_mm = 0.5
router_leakage_mw = 3.0
router_clock_mw = 1.0
link_leakage_mw = 0.25
"""


def test_units_of_the_derived_constants() -> None:
    text = TEXT.replace("clock_ghz = 1.0", "clock_ghz = 2.0").replace("link_mm = 1.0", "link_mm = 3.0")
    chip = Chip.parse(text.split("[energy]")[0] + CONSTANTS, "mine.toml")
    assert chip.static_pj_per_cycle(5, 8.0) == pytest.approx((5 * (3 + 1) + 8 * 0.25) / 2)
    assert chip.noc_energy.link_pj_per_flit == pytest.approx(0.5 * 32 * 3)
    assert chip.crossing_pj_per_flit == 0
    assert Chip.parse(text.replace('"mesh"', '"chiplets"') + NOP, "x").crossing_pj_per_flit == pytest.approx(0.5 * 32)


def test_a_router_outside_the_energy_model_is_refused() -> None:
    refused(changed("flit_bits", "4096"), "flit_bits = 4096", "outside the energy model's table")


@pytest.mark.parametrize("path", ["missing.toml", ".", "binary.toml"])
def test_an_unreadable_file_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ChipError, match="cannot read") as caught:
        Chip.load(tmp_path / path)
    assert path.removeprefix(".") in str(caught.value)


def test_a_path_of_ones_own_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(changed("flit_bits", "64"), "utf-8")
    assert Chip.load(str(tmp_path / "own.toml")).noc.flit_bits == 64
    (tmp_path / "own.toml").write_text(changed("flit_bits", "0"), "utf-8")
    with pytest.raises(ChipError, match=r"own\.toml"):
        Chip.load(tmp_path / "own.toml")


def test_an_unknown_name_is_refused_with_a_hint() -> None:
    with pytest.raises(ChipError, match="Did you mean 'siam-32nm'") as caught:
        Chip.load("siam32")
    assert "demo-32nm" in str(caught.value)
    with pytest.raises(ChipError, match="unknown chip 'qqqq'") as caught:
        Chip.load("qqqq")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("extra", ["", "columns = 9\nrows = 7\n"])
def test_a_dump_is_the_chip_again(extra: str) -> None:
    text = changed("port", "[2, 1]").replace("[noc]\n", f"[noc]\n{extra}")
    chip = Chip.parse(text, "mine.toml")
    dump = json.loads(json.dumps(chip.dump()))
    assert Chip.parse_data(dump, "dump") == chip
    assert Chip.parse(as_toml(dump), "dump") == chip
    assert ("columns" in dump["noc"]) == bool(extra)


def as_toml(data: dict[str, Any], name: str = "") -> str:
    """Plain data as TOML: JSON's scalars and lists are TOML's."""
    lines = [f"[{name}]"] if name else []
    lines += [f"{key} = {json.dumps(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for key, section in data.items():
        if isinstance(section, dict):
            lines.append(as_toml(section, f"{name}.{key}".removeprefix(".")))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('topology = "ring"\ncolumns = 4\nrows = 3', "a ring has no rows"),
        ('topology = "tree"\nport = [0, 1]\nconcentration = 4', "a tree has no rows"),
        ('topology = "cmesh"', "at least 2 tiles per router"),
        ('topology = "tree"', "a tree has 1 branches per router"),
        ('topology = "mesh"\nconcentration = 2', "one tile per router"),
        ('topology = "torus"', "at least 2 VCs"),
        ('topology = "ring"', "at least 2 VCs"),
        ('topology = "chiplets"', r"has a [nop] section"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(lines: str, what: str) -> None:
    keys = [line.split(" = ")[0] for line in lines.split("\n")]
    text = re.sub(rf"^({'|'.join(keys)}) = .*\n", "", TEXT.split("[tile]")[1], flags=re.MULTILINE)
    text = TEXT.split("[tile]")[0] + "[tile]" + text.replace("[noc]\n", f"[noc]\n{lines}\n")
    refused(text, what)


NOP = "\n[nop]\nchiplet_columns = 4\nchiplet_rows = 2\nlink_cycles = 5\ncycles_per_flit = 2\npj_per_bit = 0.5\n"


def test_a_package_belongs_to_chiplets_alone() -> None:
    refused(TEXT + NOP, "has a [nop] section")
    chip = Chip.parse(changed("topology", '"chiplets"') + NOP, "mine.toml")
    assert Chip.parse(as_toml(chip.dump()), "dump") == chip
