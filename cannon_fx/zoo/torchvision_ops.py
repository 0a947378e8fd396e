"""torchvision beside a torch that its own ops were not built for, such as a CPU wheel of another origin.

Then `import torchvision` fails, because it gives shapes to ops that are not there. Declared, they can be imported;
no classification model calls them.
"""

from __future__ import annotations

import importlib
import sys

import torch

_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)
_declared: list[torch.library.Library] = []  # an op lives as long as the library that declares it


def import_torchvision() -> None:
    """Imports torchvision if it is installed, with its ops declared where they are missing."""
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for op in _OPS:
            library.define(op)
        _declared.append(library)
        importlib.import_module("torchvision")
