"""numba as the simulator and the analytic model use it, with the types that its decorators lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

# No reference counting: nothing here allocates, and counting references to the memory costs a third of the time.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


def compiled(function: _Function) -> _Function:
    """Compile at the first call; the result is kept on disk beside the source. It runs without Python's lock.

    numba notices a change of the function's own file only: if it calls functions of other files, their text must be
    part of its closure.
    """
    return cast(_Function, numba.njit(cache=True, nogil=True, **_OPTIONS)(function))


def compiled_with_arrays(function: _Function) -> _Function:
    """As `compiled`, for functions that make arrays of their own."""
    return cast(_Function, numba.njit(cache=True, error_model="numpy")(function))


def inlined(function: _Function) -> _Function:
    """Compile into its callers: a call would copy eighty layout fields. Not kept on disk: its callers are."""
    return cast(_Function, numba.njit(forceinline=True, **_OPTIONS)(function))


def _lowest(typing_context: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), generate


lowest = cast(Callable[[int], int], intrinsic(_lowest))
"""Index of the lowest set bit of a nonzero int64, in compiled code: an instruction that numba has no function for."""
