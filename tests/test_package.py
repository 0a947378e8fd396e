"""The house: links, import rules, the public face."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cannon_fx

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("folder", ["kernels", "hw"])
def test_folders_at_the_top_are_no_packages_of_their_own(folder: str) -> None:
    """A top-level package named kernels would shadow the one on PyPI."""
    link = ROOT / "cannon_fx" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder
    assert not (ROOT / folder / "__init__.py").exists()


def imports_of(path: Path, folder: Path) -> set[str]:
    """Modules that a file imports by name; its relative imports must stay inside the folder."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
        elif isinstance(node, ast.ImportFrom):
            assert path.parents[node.level - 1].is_relative_to(folder), f"{path}: reaches outside {folder}"
    return found


@pytest.mark.parametrize(("folder", "forbidden"), [("hw", ("torch",)), ("kernels", ())])
def test_imports_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports_of(path, ROOT / folder):
            assert name.split(".")[0] not in ("cannon_fx", *forbidden), f"{path}: {name}"


def test_public_names_exist() -> None:
    assert {"apply_cannon", "plan", "retrain", "load", "Chip"} <= set(cannon_fx.__all__)
    assert all(hasattr(cannon_fx, name) for name in cannon_fx.__all__)
    assert callable(cannon_fx.plan)


def test_import_has_no_side_effects() -> None:
    """Nothing printed, no thread or default changed, nothing heavy drawn in."""
    code = (
        "import torch, sys; t = torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed(); "
        "import cannon_fx; assert t == (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed()); "
        "assert not {'matplotlib', 'sklearn', 'triton', 'tyro'} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def calls(tree: ast.AST) -> dict[str, list[ast.Call]]:
    """Calls by what is called, as it is written."""
    found: dict[str, list[ast.Call]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found.setdefault(ast.unparse(node.func), []).append(node)
    return found


def test_no_file_is_trusted() -> None:
    """A pickle runs what its writer liked. Tensors and arrays alone are read; CIFAR-10 without running it."""
    seen = 0
    for path in (path for folder in ("cannon_fx", "hw", "kernels") for path in (ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for loader, flag in (("torch.load", "weights_only=True"), ("np.load", "allow_pickle=False")):
            for call in calls(tree).get(loader, []):
                seen += 1
                assert flag in map(ast.unparse, call.keywords), f"{path}: {ast.unparse(call)}"
        pickles = any("pickle" in ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom))
        assert not pickles or path.name == "cifar10.py", path
    assert seen >= 4
