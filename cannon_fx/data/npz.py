"""Read images from an npz archive, stored as plain arrays or as JPEG files."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from cannon_fx.data.images import ImageData, Split, brief, checked_split, image_data, open_file, require
from cannon_fx.errors import DataError


def read_npz(path: Path) -> ImageData:
    """The data set in the archive `path`, in a layout that `load_data` describes; DataError if that fails."""
    with open_file(path) as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:  # damaged archives raise nearly anything, here and below
            raise DataError(f"{path}: no npz archive, or damaged ({brief(error)}). Use np.savez.") from None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: a single array, not an npz archive. Use np.savez.")
        with archive:
            classes = None
            if "classes" in archive:
                classes = len(_array(archive, path, "classes", 1))
            train = _split(archive, path, "train", classes)
            if classes is None:
                classes = int(train.labels.max()) + 1
            test = _split(archive, path, "test", classes)
            name = f"{path.stem} (JPEG)" if "train_jpeg" in archive else path.stem
    sizes = len(train), len(test), *train.images.shape[1:], classes
    if "(JPEG)" in name and sizes == (50_000, 10_000, 3, 32, 32, 10):
        name = "CIFAR-10 (JPEG)"
    return image_data(name, train, test, classes, str(path))


def _array(archive: Any, path: Path, key: str, *dimensions: int) -> Any:
    """The array stored under `key`, which must have one of these numbers of dimensions."""
    if key not in archive:
        raise DataError(f"{path}, key {key!r}: missing. The archive has {archive.files}. Add this array.")
    try:
        array = archive[key]
    except Exception as error:
        raise DataError(f"{path}, key {key!r}: unreadable ({brief(error)}). Write the file again.") from None
    if not isinstance(array, np.ndarray) or array.ndim not in dimensions:
        found = f"shape {array.shape}" if isinstance(array, np.ndarray) else "not an array"
        wanted = " or ".join(map(str, dimensions))
        raise DataError(f"{path}, key {key!r}: {found}. Store an array of {wanted} dimensions.")
    return array


def _split(archive: Any, path: Path, name: str, classes: int | None) -> Split:
    key = f"{name}_jpeg" if f"{name}_jpeg" in archive else f"{name}_images"
    if key == f"{name}_jpeg":
        offsets = _array(archive, path, f"{name}_offsets", 1)
        images = _decode(_array(archive, path, key, 1), offsets, path, name)
    else:
        images = _array(archive, path, key, 3, 4)
        if images.ndim == 3:
            images = images[..., None]
        if images.shape[1] <= 4 < images.shape[3]:
            raise DataError(f"{path}, key {key!r}: shape {images.shape}. Make it [n, H, W, C].")
        images = images.transpose(0, 3, 1, 2)
    labels = _array(archive, path, f"{name}_labels", 1)
    return checked_split(images, labels, classes, f"{path}, key {key!r}", f"{path}, key '{name}_labels'")


def _decode(blob: Any, offsets: Any, path: Path, name: str) -> Any:
    """Images uint8 [n, C, H, W] of n JPEG files; file i is blob[offsets[i] : offsets[i + 1]]."""
    if blob.dtype != np.uint8:
        raise DataError(f"{path}, key '{name}_jpeg': dtype {blob.dtype}. Store the bytes as uint8.")
    where = f"{path}, key '{name}_offsets'"
    if offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise DataError(f"{where}: {offsets.dtype} {offsets.shape}. Store n + 1 whole numbers for n images.")
    if offsets[0] < 0 or offsets[-1] > len(blob) or (offsets[1:] < offsets[:-1]).any():
        raise DataError(f"{where}: falls, or leaves 0 to {len(blob)}, its bytes. Write both again.")
    opener = require("PIL.Image", "pillow").open
    images, mode, size = None, None, None
    for index, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        where = f"{path}, key '{name}_jpeg', image {index} (bytes {begin} to {end})"
        try:
            with opener(io.BytesIO(blob[begin:end]), formats=("JPEG",)) as picture:
                pixels = np.asarray(picture)
            if images is None:
                mode, size = picture.mode, picture.size
                channels = 3 if mode == "RGB" else 1
                images = np.empty((len(offsets) - 1, channels, *pixels.shape[:2]), np.uint8)
        except Exception as error:
            raise DataError(f"{where}: not a JPEG, or damaged ({brief(error)}). Encode it again.") from None
        if mode not in ("L", "RGB") or (picture.mode, picture.size) != (mode, size):
            raise DataError(
                f"{where}: {picture.mode} {picture.size}, the first image is {mode} {size}. "
                "Store all in one size, and all grey or all RGB."
            )
        images[index] = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    return images
