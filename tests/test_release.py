"""What a release consists of: one version, a changelog that says so, and archives that work by themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy
import pytest

import cannon_fx

ROOT = Path(__file__).parent.parent


def tracked(*paths: str) -> list[str]:
    """Files under version control, links not followed."""
    words = ["git", "ls-files", "-z", *paths]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def test_the_changelog_names_every_version_once_the_newest_first() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:]]
    assert all(found)
    numbers = [tuple(map(int, match.groups())) for match in found if match]
    assert all(newer > older for newer, older in pairwise(numbers))
    present = tuple(map(int, re.findall(r"\d+", cannon_fx.__version__)))
    assert present >= max(numbers, default=present)


def test_the_version_stands_in_one_place() -> None:
    places = [
        path
        for path in tracked()
        if re.fullmatch(r".*\.(py|toml|cff|cfg)", path)
        and re.search(r"^\s*(__)?version(__)?\s*[=:]\s*.?\d", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    ]
    assert places == ["cannon_fx/__init__.py"]


def test_the_citation_is_valid() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["license"] == "Apache-2.0"
    assert all("name" in author or "family-names" in author for author in citation["authors"])


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("release")
    copied = folder / "sources"
    copied.mkdir()
    for name in ("cannon_fx", "hw", "kernels"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copied / name, symlinks=True, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copied / name)
    build = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=copied, check=True, capture_output=True)
    ((wheel,), (sdist,)) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.mark.slow
def test_archives_hold_every_file_of_the_package(archives: dict[str, Path]) -> None:
    sources = {
        path if path.startswith("cannon_fx/") else f"cannon_fx/{path}"
        for path in tracked("cannon_fx", "hw", "kernels")
        if (ROOT / path).is_file() and not path.endswith("ruff.toml")
    }
    assert "cannon_fx/kernels/cpu/block_sparse.cpp" in sources
    with zipfile.ZipFile(archives["wheel"]) as wheel, tarfile.open(archives["sdist"]) as sdist:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == sources
        names = {name.partition("/")[2] for name in sdist.getnames()}
        assert sources <= names
        assert not [name for name in names if name.startswith("tests")]
    assert archives["wheel"].name == f"cannon_fx-{cannon_fx.__version__}-py3-none-any.whl"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_archive_installs_and_passes_the_demo(kind: str, archives: dict[str, Path], tmp_path: Path) -> None:
    """In an environment of its own, which borrows the dependencies alone."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    # A line of a .pth file is no site folder: an editable cannon_fx there is not found by way of it.
    (packages / "dependencies.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall"]
    install += ["--target", packages, archives[kind]]
    subprocess.run(install, check=True, capture_output=True, env=environment, cwd=tmp_path)
    where = [python, "-c", "import cannon_fx; print(cannon_fx.__file__)"]
    assert subprocess.run(where, capture_output=True, env=environment, text=True, cwd=tmp_path).stdout.startswith(
        str(packages)
    )
    words = ["optimize", "--epochs", "4", "--dense-epochs", "2"]
    done = subprocess.run(
        [packages / "bin" / "cannon", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "demo" / "report.html").exists()
