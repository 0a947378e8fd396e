"""Compiles the C++ kernels at first use. The library is kept where torch keeps its own extensions."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.utils import cpp_extension

FOLDER = Path(__file__).parent
ISA = {
    "AVX2": ["-mavx2", "-mfma", "-mf16c"],
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mf16c"],
}
"""What torch may use of this machine -> the compiler's flags, so that a cache may be shared between machines."""


class BuildError(RuntimeError):
    """The kernels cannot be built here; the text says why."""


def library(source: str) -> Path:
    """What a .cpp file of this folder compiles to, from the cache ($TORCH_EXTENSIONS_DIR) if it is there already.

    Raises BuildError.
    """
    isa = torch.backends.cpu.get_cpu_capability()
    if platform.system() != "Linux" or isa not in ISA:
        raise BuildError(f"they need Linux and AVX2 or AVX-512, this is {platform.system()} and {isa}")
    compiler = shutil.which(cpp_extension.get_cxx_compiler())
    if compiler is None:
        raise BuildError(f"no C++ compiler {cpp_extension.get_cxx_compiler()!r}; install one or name it in $CXX")
    library_path = cpp_extension.library_paths()[0]
    command = [
        *(compiler, "-std=c++20", "-O3", "-fopenmp", "-shared", "-fPIC"),
        *ISA[isa],
        *(f"-DCPU_CAPABILITY={isa}", f"-DCPU_CAPABILITY_{isa}"),
        *(f"-I{path}" for path in cpp_extension.include_paths()),
        str(FOLDER / source),
        *(f"-L{library_path}", f"-Wl,-rpath,{library_path}", "-ltorch_cpu", "-lc10"),
    ]
    digest = hashlib.sha256(repr([torch.__version__, command]).encode())
    for file in sorted((*FOLDER.glob("*.h"), *FOLDER.glob("*.cpp"))):
        digest.update(file.read_bytes())
    cache = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root())
    made = cache / f"cannon_fx_{Path(source).stem}_{digest.hexdigest()[:16]}.so"
    if not made.exists():
        _compile(command, made)
    return made


def _compile(command: list[str], made: Path) -> None:
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: two processes may build at once.
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            part = Path(folder) / made.name
            done = subprocess.run([*command, "-o", str(part)], capture_output=True, text=True)
            if done.returncode != 0:
                raise BuildError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
            part.replace(made)
    except OSError as error:
        raise BuildError(
            f"{made.parent} cannot be written: {error}. Name another folder in $TORCH_EXTENSIONS_DIR"
        ) from None
