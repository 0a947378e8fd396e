"""What a data set is in memory, and the checks that every source goes through."""

import hashlib
import importlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from cannon_fx.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Images [n, C, H, W], uint8 in 0..255 or float32 in 0..1, and their labels, int64 [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set. `mean` and `std` are per channel, of the train images scaled to 0..1.

    `std` is 1 for a channel that is the same everywhere, so that it can always be divided by.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def fingerprint(self) -> str:
        """A digest of every image and label: two data sets of one name may differ."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def hold_out(data: ImageData) -> tuple[ImageData, Split]:
    """The data set with every tenth train image taken out, and those: to choose by, without the test images."""
    held = torch.arange(len(data.train), device="cpu") % 10 == 0
    rest, taken = (Split(data.train.images[chosen], data.train.labels[chosen]) for chosen in (~held, held))
    return replace(data, train=rest), taken


def open_file(path: Path) -> BinaryIO:
    """`path` open for reading; DataError if it is not a file or may not be read."""
    if not os.path.isfile(path):
        what = "a directory or device, not a file" if os.path.exists(path) else "no such file"
        raise DataError(f"{path}: {what}. Check the path.")
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}). Check its permissions.") from None


def require(module: str, package: str) -> Any:
    """The module, imported only when a data set needs it; DataError if `package` is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError(f"{package}, which reads this data set, is missing: pip install {package}.") from None


def brief(error: Exception) -> str:
    """What a library said, on one line and not longer than a message can carry."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def image_data(name: str, train: Split, test: Split, classes: int, where: str) -> ImageData:
    """The data set of two checked splits; DataError, which names `where`, if their images differ in shape."""
    shape, other = tuple(train.images.shape[1:]), tuple(test.images.shape[1:])
    if shape != other or train.images.dtype != test.images.dtype:
        raise DataError(
            f"{where}: train images are {train.images.dtype} [C, H, W] = {shape}, test images "
            f"{test.images.dtype} {other}. Store both splits with one shape and one dtype."
        )
    return ImageData(name, train, test, classes, *_moments(train.images))


def checked_split(images: Any, labels: Any, classes: int | None, images_at: str, labels_at: str) -> Split:
    """A Split of `images` [n, C, H, W] and `labels` [n], both numpy; `..._at` says where they came from.

    Labels must lie in 0..classes - 1. With `classes` None they must be below n: where classes outnumber
    images, the number of classes cannot be read off the labels. Raises DataError.
    """
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(f"{images_at}: dtype {images.dtype}. Store uint8 (0..255) or float32 (0..1) images.")
    if 0 in images.shape:
        raise DataError(f"{images_at}: no images, the array is empty. Store at least one image per split.")
    # NaN fails both comparisons, so that one test refuses it together with every other bad value.
    if images.dtype == np.float32 and not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"{images_at}: NaN or values outside 0..1. Scale float images to 0..1.")
    if len(labels) != len(images):
        raise DataError(
            f"{labels_at}: {len(labels)} labels for the {len(images)} images of {images_at}. Store one label per image."
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{labels_at}: dtype {labels.dtype}. Store whole numbers.")
    bound = len(images) if classes is None else classes
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label < bound:
            limit = f"{bound} classes" if classes is not None else f"{bound} images, so fewer classes"
            raise DataError(
                f"{labels_at}: label {label}, but there are {limit}. Number the classes from 0; "
                "an npz file may hold their names under the key 'classes'."
            )
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of `images` [n, C, H, W], scaled to 0..1."""
    count = images.numel() // images.shape[1]
    total, square = torch.zeros(2, images.shape[1], dtype=torch.float64, device="cpu")
    # A slice at a time: 64-bit copies of all of CIFAR-10 would take 1.2 GB. Sums of uint8 stay exact.
    for start in range(0, len(images), 1024):
        values = images[start : start + 1024].double()
        total += values.sum((0, 2, 3))
        square += values.square_().sum((0, 2, 3))
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    std = torch.where(std < 1e-6 * scale, scale, std)  # a constant channel, up to rounding
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())
