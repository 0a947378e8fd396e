"""Read the CIFAR-10 python batches without trusting them: pickles can run code, these may not."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cannon_fx.data.images import ImageData, Split, brief, checked_split, image_data, open_file
from cannon_fx.errors import DataError

FOLDER = "cifar-10-batches-py"
PIXELS = 3 * 32 * 32
ADVICE = "Unpack cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html again."


def read_cifar10(directory: Path) -> ImageData:
    """CIFAR-10 from `directory` or its folder cifar-10-batches-py; DataError if that fails."""
    if not os.path.isdir(directory):
        raise DataError(f"{directory}: no such directory. Name the one that holds data_batch_1 or {FOLDER}.")
    if os.path.isdir(directory / FOLDER):
        directory = directory / FOLDER
    batches = [_read_batch(directory / f"data_batch_{number}") for number in range(1, 6)]
    train = Split(torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches]))
    return image_data("CIFAR-10", train, _read_batch(directory / "test_batch"), 10, str(directory))


def _read_batch(path: Path) -> Split:
    with open_file(path) as file:
        try:
            # Written by Python 2, whose strings are bytes.
            batch = _Inert(file, encoding="bytes").load()
        except Exception as error:  # damaged pickles raise nearly anything
            raise DataError(f"{path}: not a CIFAR-10 batch, or damaged ({brief(error)}). {ADVICE}") from None
    for key in (b"data", b"labels"):
        if not isinstance(batch, dict) or key not in batch:
            raise DataError(f"{path}: no key {key!r}, so not a CIFAR-10 batch. {ADVICE}")
    labels = batch[b"labels"]
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}, key b'labels': not a list of whole numbers. {ADVICE}")
    images = _images(batch[b"data"], f"{path}, key b'data'")
    return checked_split(images, np.array(labels), 10, f"{path}, key b'data'", f"{path}, key b'labels'")


class _Recorded:
    """Stands for every numpy object in a pickle: keeps what numpy would be asked to do, as plain data."""

    def __init__(self, *args: Any) -> None:
        self.args, self.state = args, ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Inert(pickle.Unpickler):
    """An unpickler that admits numbers, strings, lists, dicts and arrays, and calls nothing but _Recorded.

    Not even numpy: its own unpickling trusts its input (a crafted dtype state can crash it).
    """

    def find_class(self, module: str, name: str) -> Any:
        core = ("numpy.core.multiarray", "numpy._core.multiarray")  # numpy 1 and before, numpy 2
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), *((m, "_reconstruct") for m in core)}:
            return _Recorded
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _images(recorded: Any, where: str) -> Any:
    """The uint8 array [n, 3, 32, 32] that numpy would have unpickled from a b"data" entry [n, 3072]."""
    match recorded:
        case _Recorded(state=(_, shape, _Recorded(args=(dtype, *_)), fortran, bytes(pixels))):
            pass
        case _:
            raise DataError(f"{where}: not a plain array. {ADVICE}")
    count = len(pixels) // PIXELS
    if dtype not in (b"u1", "u1") or shape != (count, PIXELS) or len(pixels) != count * PIXELS:
        raise DataError(f"{where}: dtype {dtype!r}, shape {shape}, not uint8 (n, {PIXELS}). {ADVICE}")
    rows = np.frombuffer(bytearray(pixels), np.uint8).reshape(shape, order="F" if fortran else "C")
    return rows.reshape(count, 3, 32, 32)
