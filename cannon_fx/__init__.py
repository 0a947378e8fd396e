"""A PyTorch compiler for communication-aware sparse networks on tiled in-memory-computing chips.

>>> from cannon_fx import apply_cannon, plan, retrain, load, Chip
"""

from cannon_fx.applied import AppliedPlan
from cannon_fx.compile import apply_cannon, plan
from cannon_fx.errors import CannonError, CaptureError, DataError, InfeasibleError, MappingError, RunError
from cannon_fx.hw.chip import Chip
from cannon_fx.hw.errors import ChipError
from cannon_fx.load import load
from cannon_fx.plans import Plan
from cannon_fx.train.retrain import Training, retrain

__all__ = [
    "AppliedPlan",
    "CannonError",
    "CaptureError",
    "Chip",
    "ChipError",
    "DataError",
    "InfeasibleError",
    "MappingError",
    "Plan",
    "RunError",
    "Training",
    "apply_cannon",
    "load",
    "plan",
    "retrain",
]
