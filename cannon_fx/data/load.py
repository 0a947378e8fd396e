"""From the name of a data set to its images, and scikit-learn's digits, which need no file."""

import os
from pathlib import Path

import numpy as np

from cannon_fx.data.cifar10 import read_cifar10
from cannon_fx.data.images import ImageData, checked_split, image_data, require
from cannon_fx.data.npz import read_npz
from cannon_fx.errors import DataError


def load_data(spec: str) -> ImageData:
    """Read the data set that `spec` names; DataError says what is wrong, where, and what to do.

    digits         1,797 grey 8x8 images that come with scikit-learn; a fixed third is the test split
    cifar10:DIR    the CIFAR-10 python batches in DIR or in DIR/cifar-10-batches-py
    npz:FILE       for "train" and for "test": `train_labels` [n] and either `train_images` [n, H, W] or
                   [n, H, W, C], or `train_jpeg` (JPEG files end to end, as uint8) with `train_offsets`
                   [n + 1]. Optional: `classes`, their names; else the largest train label tells how many.
    """
    scheme, _, path = spec.partition(":")
    if spec == "digits":
        return _digits()
    if scheme == "cifar10" and path:
        return read_cifar10(Path(os.path.expanduser(path)))
    if scheme == "npz" and path:
        return read_npz(Path(os.path.expanduser(path)))
    raise DataError(f"Data set {spec!r}: no such form. Write one of digits, cifar10:DIR, npz:FILE.")


def _digits() -> ImageData:
    raw, labels = require("sklearn.datasets", "scikit-learn").load_digits(return_X_y=True)
    images = (raw.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    # Every third image of a shuffled list sorted by class, so that all classes are divided alike.
    # RandomState, because its stream is frozen: the split stays the same whatever is installed.
    shuffled = np.random.RandomState(0).permutation(len(labels))
    held_out = np.zeros(len(labels), bool)
    held_out[shuffled[np.argsort(labels[shuffled], kind="stable")][::3]] = True
    train = checked_split(images[~held_out], labels[~held_out], 10, "digits", "digits")
    test = checked_split(images[held_out], labels[held_out], 10, "digits", "digits")
    return image_data("digits", train, test, 10, "digits")
