"""numba as the simulator and the analytic model use it, with the types that its decorators lose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

# No reference counting: nothing here allocates, and counting references to the memory costs a third of the time.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


def _sources() -> str:
    """A fingerprint of everything in this folder that may be compiled."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


_SOURCES = CellType(_sources())


def _cached(function: _Function, **options: Any) -> _Function:
    """Compile at the first call; keep the result on disk, beside the source or in the user's cache, if either can be.

    numba notices a change of the function's own file only, though functions of other files are compiled into it. But
    its key on disk also holds the closure: so the fingerprint of all sources goes there, as a variable never read.
    """
    code = function.__code__
    keyed = FunctionType(
        code.replace(co_freevars=(*code.co_freevars, "_sources")),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        (*(function.__closure__ or ()), _SOURCES),
    )
    keyed.__qualname__, keyed.__module__, keyed.__doc__ = function.__qualname__, function.__module__, function.__doc__
    try:
        return cast(_Function, numba.njit(cache=True, **options)(keyed))
    except RuntimeError:  # neither folder can be written: then every process compiles anew
        return cast(_Function, numba.njit(**options)(keyed))


def compiled(function: _Function) -> _Function:
    """Compile at the first call; the result is kept on disk beside the source. It runs without Python's lock."""
    return _cached(function, nogil=True, **_OPTIONS)


def compiled_with_arrays(function: _Function) -> _Function:
    """As `compiled`, for functions that make arrays of their own."""
    return _cached(function, error_model="numpy")


def inlined(function: _Function) -> _Function:
    """Compile into its callers: a call would copy eighty layout fields. Not kept on disk: its callers are."""
    return cast(_Function, numba.njit(forceinline=True, **_OPTIONS)(function))


def _lowest(typing_context: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), generate


lowest = cast(Callable[[int], int], intrinsic(_lowest))
"""Index of the lowest set bit of a nonzero int64, in compiled code: an instruction that numba has no function for."""
