"""Data sets: what is read equals what was written, bad files are named, and batches repeat exactly."""

import io
import os
import pickle
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from cannon_fx.data import Batches, ImageData, Split, hold_out, load_data
from cannon_fx.data import npz as npz_module
from cannon_fx.errors import CannonError, DataError

RNG = np.random.default_rng(0)


def refused(spec: str, *fragments: str) -> str:
    """The message of the DataError that `spec` must raise: one paragraph, no foreign traceback behind it."""
    with pytest.raises(DataError) as caught:
        load_data(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    for fragment in fragments:
        assert fragment in message, message
    return message


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# --- digits and the spec


def test_digits_are_scikit_learns_and_divided_by_class() -> None:
    data = load_data("digits")
    assert (data.name, data.classes, len(data.train), len(data.test)) == ("digits", 10, 1198, 599)
    assert data.train.images.shape == (1198, 1, 8, 8)
    assert data.train.images.dtype == torch.float32
    assert data.test.labels.dtype == torch.int64
    raw, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    truth = sorted((*row, label) for row, label in zip(raw.tolist(), labels.tolist(), strict=True))
    mine = [
        (*(row * 16).flatten().tolist(), label)
        for split in (data.train, data.test)
        for row, label in zip(split.images, split.labels.tolist(), strict=True)
    ]
    assert sorted(mine) == truth
    assert np.abs(np.bincount(labels) / 3 - np.bincount(data.test.labels)).max() < 1


def test_the_digits_split_is_frozen() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    data = load_data("digits")
    assert zlib.crc32(data.test.labels.numpy().tobytes()) == 3_324_832_516
    assert torch.equal(data.test.images, load_data("digits").test.images)


@pytest.mark.parametrize("spec", ["", "digit", "digits:", "cifar10", "cifar10:", "npz:", "mnist:/x", ":"])
def test_unknown_specs_list_the_three_forms(spec: str) -> None:
    refused(spec, repr(spec), "digits, cifar10:DIR, npz:FILE")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refused("digits", "pip install scikit-learn")


# --- CIFAR-10 python batches


PurePickler: Any = vars(pickle)["_Pickler"]  # the one in Python, whose methods can be replaced


class Python2Pickler(PurePickler):  # type: ignore[misc]
    """Writes as Python 2 did, which the real files come from: every string is a byte string."""

    def save_string(self, value: bytes | str) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        short = len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) if short else b"T" + len(raw).to_bytes(4, "little"))
        self.write(raw)
        self.memoize(value)

    dispatch: ClassVar[dict[type, Any]] = {**PurePickler.dispatch, bytes: save_string, str: save_string}


def python2_pickle(value: Any) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, 2).dump(value)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(count: int = 4, **changes: Any) -> dict[Any, Any]:
    content: dict[Any, Any] = {
        b"batch_label": b"training batch 1 of 5",
        b"labels": RNG.integers(0, 10, count).tolist(),
        b"data": pixels(count, 3072),
        b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * count,
    }
    content.update({key.encode(): value for key, value in changes.items()})
    return {key: value for key, value in content.items() if value is not None}


NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def write_cifar(folder: Path, write: Callable[[Any], bytes] = python2_pickle) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: batch(4 + index) for index, name in enumerate(NAMES)}
    for name, content in contents.items():
        (folder / name).write_bytes(write(content))
    return contents


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("write", [python2_pickle, lambda value: pickle.dumps(value, protocol=4)])
def test_cifar10_batches(tmp_path: Path, inner: str, write: Callable[[Any], bytes]) -> None:
    contents = write_cifar(tmp_path / inner, write)
    # The files of this test are what an ordinary unpickler takes them for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy 2 on numpy 1's names
        stored = pickle.loads((tmp_path / inner / "data_batch_2").read_bytes(), encoding="bytes")
    assert (stored[b"data"] == contents["data_batch_2"][b"data"]).all()

    data = load_data(f"cifar10:{tmp_path}")
    assert (data.name, data.classes, len(data.train), len(data.test)) == ("CIFAR-10", 10, 30, 9)
    rows = np.concatenate([contents[name][b"data"] for name in NAMES[:5]])
    labels = [label for name in NAMES[:5] for label in contents[name][b"labels"]]
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.tolist() == labels
    # Row 7 of the green plane of image 11, by the description on the data set's page.
    assert data.train.images[11, 1, 7].tolist() == rows[11, 1024 + 7 * 32 : 1024 + 8 * 32].tolist()
    assert (data.train.images.numpy().reshape(30, 3072) == rows).all()
    assert (data.test.images.numpy().reshape(9, 3072) == contents["test_batch"][b"data"]).all()
    planes = rows.reshape(30, 3, 1024) / 255
    np.testing.assert_allclose(data.mean, planes.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, planes.std((0, 2)), rtol=1e-9)


def test_a_column_major_batch(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    content = batch(data=np.asfortranarray(pixels(4, 3072)))
    (tmp_path / "test_batch").write_bytes(python2_pickle(content))
    images = load_data(f"cifar10:{tmp_path}").test.images
    assert (images.numpy().reshape(4, 3072) == content[b"data"]).all()


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["whole", "batch_label", "data"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, place: str) -> None:
    write_cifar(tmp_path / "c")
    attack = Malicious(tmp_path / "owned")
    for write in (python2_pickle, pickle.dumps):
        content: Any = attack if place == "whole" else batch() | {place.encode(): attack}
        (tmp_path / "c/data_batch_3").write_bytes(write(content))
        refused(f"cifar10:{tmp_path / 'c'}", str(tmp_path / "c/data_batch_3"), "mkdir")
        assert not (tmp_path / "owned").exists()
    pickle.loads((tmp_path / "c/data_batch_3").read_bytes())
    assert (tmp_path / "owned").exists()  # so the attack was a real one


@pytest.mark.parametrize(
    "name", ["builtins eval", "numpy load", "numpy ndarray.tofile", "numpy._core.multiarray fromfile"]
)
def test_only_array_names_are_admitted(tmp_path: Path, name: str) -> None:
    write_cifar(tmp_path)
    module, attribute = name.split()
    old = f"c{module}\n{attribute}\n.".encode()
    strings = (b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, attribute))
    new = b"\x80\x04" + b"".join(strings) + b"\x93."
    for stream in (old, new):  # the two ways in which a pickle asks for a name
        (tmp_path / "data_batch_1").write_bytes(stream)
        refused(f"cifar10:{tmp_path}", str(tmp_path / "data_batch_1"), f"{module}.{attribute}")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        (batch(data=None), ["b'data'"]),
        (batch(labels=None), ["b'labels'"]),
        ([1, 2], ["b'data'"]),
        (batch(data=[1, 2]), ["b'data'", "not a plain array"]),
        (batch(data=pixels(4, 3071)), ["b'data'", "(4, 3071)"]),
        (batch(data=pixels(4, 3, 32, 32)), ["b'data'", "(4, 3, 32, 32)"]),
        (batch(data=np.zeros((4, 3072), np.float32)), ["b'data'", "f4"]),
        (batch(data=np.zeros((4, 3072), np.int8)), ["b'data'", "i1"]),
        (batch(data=np.array([[{}]], object)), ["b'data'"]),
        (batch(data=pixels(0, 3072), labels=[]), ["b'data'", "no images"]),
        (batch(labels=[1, 2, 3]), ["b'labels'", "3 labels for the 4 images"]),
        (batch(labels=[]), ["b'labels'", "0 labels for the 4 images"]),
        (batch(labels=[1, 2, 3, 10]), ["b'labels'", "label 10"]),
        (batch(labels=[1, 2, 3, -1]), ["b'labels'", "label -1"]),
        (batch(labels=[1, 2, 3, 10**30]), ["b'labels'"]),
        (batch(labels=[1, 2, 3, 0.5]), ["b'labels'", "whole numbers"]),
        (batch(labels=[1, 2, 3, [4]]), ["b'labels'", "whole numbers"]),
        (batch(labels=7), ["b'labels'", "whole numbers"]),
    ],
)
def test_bad_cifar10_batches(tmp_path: Path, content: Any, fragments: list[str]) -> None:
    write_cifar(tmp_path)
    (tmp_path / "data_batch_5").write_bytes(python2_pickle(content))
    refused(f"cifar10:{tmp_path}", str(tmp_path / "data_batch_5"), *fragments)


def test_missing_and_damaged_cifar10_files(tmp_path: Path) -> None:
    refused(f"cifar10:{tmp_path / 'none'}", str(tmp_path / "none"), "no such directory")
    refused(f"cifar10:{tmp_path}", str(tmp_path / "data_batch_1"), "no such file")
    write_cifar(tmp_path)
    path = tmp_path / "data_batch_4"
    whole = path.read_bytes()
    for damaged in (b"", b"junk", whole[: len(whole) // 2], whole[:-1], b"\x80\x02" + b"(" * 1000):
        path.write_bytes(damaged)
        refused(f"cifar10:{tmp_path}", str(path), "damaged")
    path.unlink()
    refused(f"cifar10:{tmp_path}", str(path), "no such file")
    path.mkdir()
    refused(f"cifar10:{tmp_path}", str(path), "directory")
    refused(f"cifar10:{tmp_path / 'data_batch_1'}", "no such directory")


# --- npz archives


def jpegs(images: list[np.ndarray], form: str = "JPEG") -> list[bytes]:
    streams = [io.BytesIO() for _ in images]
    for image, stream in zip(images, streams, strict=True):
        Image.fromarray(image).save(stream, form)
    return [stream.getvalue() for stream in streams]


def joined(files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])


def jpeg_arrays(*shape: int) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for split, count in (("train", 6), ("test", 3)):
        files = jpegs([pixels(*shape) for _ in range(count)])
        arrays[f"{split}_jpeg"], arrays[f"{split}_offsets"] = joined(files)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8) % 3
    return arrays


def plain_arrays(*shape: int) -> dict[str, Any]:
    return {
        "train_images": pixels(6, *shape),
        "train_labels": np.array([0, 1, 2, 3, 3, 0], np.int16),
        "test_images": pixels(3, *shape),
        "test_labels": np.array([2, 1, 0], np.uint64),
    }


@pytest.mark.parametrize(("shape", "channels"), [((32, 24, 3), 3), ((9, 13), 1)])
def test_jpeg_archives_decode_as_pillow_does(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    arrays = jpeg_arrays(*shape)
    np.savez(tmp_path / "birds.npz", **arrays)
    data = load_data(f"npz:{tmp_path / 'birds.npz'}")
    assert (data.name, data.classes) == ("birds (JPEG)", 3)
    for name, split in (("train", data.train), ("test", data.test)):
        offsets = arrays[f"{name}_offsets"]
        assert split.images.shape == (len(offsets) - 1, channels, *shape[:2])
        assert split.labels.tolist() == arrays[f"{name}_labels"].tolist()
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        for index, image in enumerate(split.images.numpy()):
            file = arrays[f"{name}_jpeg"][offsets[index] : offsets[index + 1]].tobytes()
            truth = np.asarray(Image.open(io.BytesIO(file))).reshape(*shape[:2], channels)
            assert (image.transpose(1, 2, 0) == truth).all()


def test_the_jpeg_edition_of_cifar10_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Decoding 60,000 files would take seconds; only their number and shape matter here.
    monkeypatch.setattr(
        npz_module, "_decode", lambda blob, offsets, *_: np.zeros((len(offsets) - 1, 3, 32, 32), np.uint8)
    )
    arrays: dict[str, Any] = {}
    for split, count in (("train", 50_000), ("test", 10_000)):
        arrays[f"{split}_jpeg"], arrays[f"{split}_offsets"] = pixels(1), np.zeros(count + 1, np.int64)
        arrays[f"{split}_labels"] = np.arange(count) % 10
    np.savez(tmp_path / "x.npz", **arrays)
    data = load_data(f"npz:{tmp_path / 'x.npz'}")
    assert data.name == "CIFAR-10 (JPEG)"
    assert data.mean == (0, 0, 0)
    assert data.std == (1, 1, 1)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (8, 6, 3), (8, 6, 2)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_plain_archives(tmp_path: Path, shape: tuple[int, ...], save: Callable[..., None]) -> None:
    arrays = plain_arrays(*shape)
    save(tmp_path / "cells.npz", **arrays)
    data = load_data(f"npz:{tmp_path / 'cells.npz'}")
    assert (data.name, data.classes) == ("cells", 4)
    assert data.train.labels.tolist() == [0, 1, 2, 3, 3, 0]
    assert data.test.labels.dtype == torch.int64
    channels = shape[2] if len(shape) == 3 else 1
    images = arrays["train_images"].reshape(6, 8, 6, channels)
    assert data.train.images.shape == (6, channels, 8, 6)
    for channel in range(channels):
        assert (data.train.images[:, channel].numpy() == images[..., channel]).all()
        assert data.mean[channel] == pytest.approx((images[..., channel] / 255).mean(), rel=1e-12)
        assert data.std[channel] == pytest.approx((images[..., channel] / 255).std(), rel=1e-9)


def test_float_images_and_class_names(tmp_path: Path) -> None:
    arrays = plain_arrays(8, 6)
    arrays |= {key: (arrays[key] / 255).astype(np.float32) for key in ("train_images", "test_images")}
    np.savez(tmp_path / "f.npz", **arrays, classes=np.array(list("abcdefghijkl")))
    data = load_data(f"npz:{tmp_path / 'f.npz'}")
    assert data.classes == 12
    assert data.train.images.dtype == torch.float32
    assert (data.train.images[:, 0].numpy() == arrays["train_images"]).all()
    assert data.mean[0] == pytest.approx(arrays["train_images"].astype(float).mean())
    assert data.std[0] == pytest.approx(arrays["train_images"].astype(float).std())


def test_home_directory_in_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "x.npz", **plain_arrays(8, 6))
    assert load_data("npz:~/x.npz").name == "x"


BAD_PLAIN: list[tuple[str, Any, str]] = [
    ("train_images", None, "missing"),
    ("train_labels", None, "missing"),
    ("test_images", None, "missing"),
    ("test_labels", None, "missing"),
    ("train_images", np.zeros((6, 8, 6), np.int16), "int16"),
    ("train_images", np.zeros((6, 8, 6)), "float64"),
    ("train_images", np.full((6, 8, 6), np.nan, np.float32), "NaN"),
    ("train_images", np.full((6, 8, 6), 255, np.float32), "outside 0..1"),
    ("test_images", np.full((3, 8, 6), np.inf, np.float32), "outside 0..1"),
    ("train_images", np.array([{}] * 6, object), "unreadable"),
    ("train_images", pixels(6, 48), "(6, 48)"),
    ("train_images", pixels(6, 8, 6, 1, 1), "(6, 8, 6, 1, 1)"),
    ("train_images", pixels(6, 3, 8, 6), "[n, H, W, C]"),
    ("train_images", pixels(0, 8, 6), "no images"),
    ("test_images", pixels(3, 0, 6), "no images"),
    ("train_labels", np.zeros(5, int), "5 labels for the 6 images"),
    ("test_labels", np.zeros(4, int), "4 labels for the 3 images"),
    ("train_labels", np.zeros((6, 1), int), "(6, 1)"),
    ("train_labels", np.zeros(6), "float64"),
    ("test_labels", np.full(3, np.nan), "float64"),
    ("train_labels", np.array(list("abcdef")), "<U1"),
    ("train_labels", np.array([0, 1, 2, 3, 4, -1]), "label -1"),
    ("train_labels", np.array([0, 1, 2, 3, 4, 6]), "'classes'"),
    ("train_labels", np.array([0, 1, 2, 3, 4, 2**64 - 1], np.uint64), str(2**64 - 1)),
    ("test_labels", np.array([0, 1, 4]), "label 4"),
    ("classes", np.array(["a", "b", "c"]), "label 3"),
    ("classes", np.array(3), "shape ()"),
]


@pytest.mark.parametrize(("key", "value", "fragment"), BAD_PLAIN)
def test_bad_plain_archives(tmp_path: Path, key: str, value: Any, fragment: str) -> None:
    arrays = {k: v for k, v in (plain_arrays(8, 6) | {key: value}).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    named = "train_labels" if fragment == "label 3" else key
    refused(f"npz:{tmp_path / 'bad.npz'}", str(tmp_path / "bad.npz"), f"'{named}'", fragment)


def test_splits_of_different_shape(tmp_path: Path) -> None:
    for images in (pixels(3, 8, 7), pixels(3, 8, 6, 3), np.zeros((3, 8, 6), np.float32)):
        np.savez(tmp_path / "bad.npz", **plain_arrays(8, 6) | {"test_images": images})
        refused(f"npz:{tmp_path / 'bad.npz'}", str(tmp_path / "bad.npz"), "one shape and one dtype")


BAD_FILES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "truncated": lambda files: [*files[:4], files[4][: len(files[4]) // 2], files[5]],
    "junk": lambda files: [*files[:4], b"junk", files[5]],
    "empty": lambda files: [*files[:4], b"", files[5]],
    "damaged header": lambda files: [*files[:4], files[4][:20] + b"\0" * (len(files[4]) - 20), files[5]],
    "png": lambda files: [*files[:4], *jpegs([pixels(8, 8, 3)], "PNG"), files[5]],
    "other size": lambda files: [*files[:4], *jpegs([pixels(8, 9, 3)]), files[5]],
    "grey": lambda files: [*files[:4], *jpegs([pixels(8, 8)]), files[5]],
}


@pytest.mark.parametrize("damage", BAD_FILES)
def test_bad_jpegs_are_named(tmp_path: Path, damage: str) -> None:
    files = BAD_FILES[damage](jpegs([pixels(8, 8, 3) for _ in range(6)]))
    blob, offsets = joined(files)
    np.savez(tmp_path / "bad.npz", **jpeg_arrays(8, 8, 3) | {"train_jpeg": blob, "train_offsets": offsets})
    path = tmp_path / "bad.npz"
    refused(f"npz:{path}", str(path), "'train_jpeg', image 4", str(offsets[4]))


def test_jpegs_of_four_channels(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels(8, 8, 4), "CMYK").save(stream, "JPEG")
    blob, offsets = joined([stream.getvalue()] * 6)
    np.savez(tmp_path / "bad.npz", **jpeg_arrays(8, 8, 3) | {"train_jpeg": blob, "train_offsets": offsets})
    refused(f"npz:{tmp_path / 'bad.npz'}", str(tmp_path / "bad.npz"), "'train_jpeg', image 0", "CMYK")


BAD_JPEG: list[tuple[str, Any, str]] = [
    ("train_offsets", None, "missing"),
    ("train_labels", None, "missing"),
    ("test_jpeg", None, "'test_images'"),
    ("train_jpeg", np.zeros(99, np.int8), "int8"),
    ("train_jpeg", pixels(9, 9), "(9, 9)"),
    ("train_offsets", np.array([0.0, 5.0]), "float64"),
    ("train_offsets", np.array([0]), "(1,)"),
    ("train_offsets", np.array([0, 10**9]), "falls, or leaves"),
    ("train_offsets", np.array([-1, 10]), "falls, or leaves"),
    ("train_offsets", np.array([0, 20, 10]), "falls, or leaves"),
    ("test_labels", np.zeros(4, int), "4 labels for the 3 images"),
    ("test_labels", np.array([0, 1, 3]), "label 3"),
]


@pytest.mark.parametrize(("key", "value", "fragment"), BAD_JPEG)
def test_bad_jpeg_archives(tmp_path: Path, key: str, value: Any, fragment: str) -> None:
    arrays = {k: v for k, v in (jpeg_arrays(8, 8, 3) | {key: value}).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    named = "test_images" if key == "test_jpeg" else key
    refused(f"npz:{tmp_path / 'bad.npz'}", str(tmp_path / "bad.npz"), f"'{named}'", fragment)


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **plain_arrays(32, 32))
    whole = path.read_bytes()
    half = whole[: len(whole) // 2]
    for damaged in (b"", b"junk", half, whole[:-30], pickle.dumps([1]), b"PK\x03\x04" * 9):
        path.write_bytes(damaged)
        refused(f"npz:{path}", str(path))
    middle = whole.index(b"train_images.npy") + 3000
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    refused(f"npz:{path}", str(path), "'train_images'", "unreadable")
    with open(path, "wb") as file:
        np.save(file, pixels(3))
    refused(f"npz:{path}", str(path), "single array")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", b"no array at all")
    refused(f"npz:{path}", str(path), "'train_images'", "not an array")
    # A header that promises a thousand terabytes.
    header = io.BytesIO()
    promise = {"descr": "|u1", "fortran_order": False, "shape": (10**15, 1, 1)}
    np.lib.format.write_array_header_1_0(header, promise)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images.npy", header.getvalue())
    refused(f"npz:{path}", str(path), "'train_images'", "unreadable")


def test_archives_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(f"npz:{tmp_path / 'none.npz'}", str(tmp_path / "none.npz"), "no such file")
    refused(f"npz:{tmp_path}", str(tmp_path), "directory")
    refused("npz:/dev/null", "/dev/null", "not a file")
    refused(f"npz:{'a' * 300}", "no such file")
    refused("npz:a\0b", "no such file")

    def denied(*_: Any, **__: Any) -> None:  # root, who runs the tests in containers, may read everything
        raise PermissionError(13, "Permission denied")

    np.savez(tmp_path / "x.npz", **plain_arrays(8, 6))
    monkeypatch.setattr("builtins.open", denied)
    refused(f"npz:{tmp_path / 'x.npz'}", str(tmp_path / "x.npz"), "Permission denied")


# --- batches


def made_up(count: int, channels: int, size: int, dtype: type = np.uint8) -> ImageData:
    images = torch.from_numpy(pixels(count, channels, size, size))
    if dtype is np.float32:
        images = images.float() / 255
    split = Split(images, torch.arange(count))
    return ImageData("made up", split, split, count, (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels])


def batches(data: ImageData, size: int = 7, shuffle: bool = True, augment: bool = False, seed: int = 0) -> Batches:
    return Batches(data.train, data, size, shuffle=shuffle, augment=augment, seed=seed)


def whole(source: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*source, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_in_order_are_normalised_images(channels: int, dtype: type) -> None:
    data = made_up(20, channels, 8, dtype)
    source = batches(data, shuffle=False)
    assert len(source) == 3
    assert [len(labels) for _, labels in source] == [7, 7, 6]
    images, labels = whole(source)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert labels.dtype == torch.int64
    assert labels.tolist() == list(range(20))
    raw = data.train.images.double().numpy() / (255 if dtype is np.uint8 else 1)
    mean, std = np.array(data.mean)[:, None, None], np.array(data.std)[:, None, None]
    np.testing.assert_allclose(images, (raw - mean) / std, atol=2e-6)
    assert data.train.images.dtype == (torch.uint8 if dtype is np.uint8 else torch.float32)


@pytest.mark.parametrize(("size", "count"), [(1, 20), (20, 1), (21, 1), (10, 2)])
def test_number_of_batches(size: int, count: int) -> None:
    source = batches(made_up(20, 1, 4), size)
    assert len(source) == count == sum(1 for _ in source)


def test_shuffle_is_a_permutation_that_keeps_labels_with_images() -> None:
    data = made_up(50, 3, 8)
    plain, _ = whole(batches(data, shuffle=False))
    images, labels = whole(batches(data))
    assert labels.tolist() != list(range(50))
    assert sorted(labels.tolist()) == list(range(50))
    assert torch.equal(images, plain[labels])


@pytest.mark.parametrize("augment", [False, True])
def test_seed_and_epoch_alone_decide(augment: bool) -> None:
    data = made_up(50, 3, 8)
    seen = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (-5, 0), (2**70, 3)]:
        source = batches(data, augment=augment, seed=seed)
        source.set_epoch(epoch)
        seen[seed, epoch] = whole(source)
    assert len({tuple(labels.tolist()) for _, labels in seen.values()}) == len(seen)

    state = torch.get_rng_state()
    resumed = batches(data, augment=augment, seed=0)
    list(resumed)
    resumed.set_epoch(1)
    next(iter(resumed))  # an iteration that was given up halfway
    images, labels = whole(resumed)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, seen[0, 1][0])
    assert torch.equal(labels, seen[0, 1][1])
    # Neither the batch size nor the global state changes what an image looks like.
    torch.manual_seed(99)
    other = batches(data, size=13, augment=augment, seed=0)
    other.set_epoch(1)
    assert torch.equal(whole(other)[0], seen[0, 1][0])


def test_augmentation_leaves_the_order_alone() -> None:
    data = made_up(50, 3, 8)
    assert torch.equal(whole(batches(data))[1], whole(batches(data, augment=True))[1])


@pytest.mark.parametrize(("channels", "size", "reach"), [(1, 8, 1), (3, 16, 1), (3, 17, 4), (1, 32, 4), (2, 8, 1)])
def test_augmentation_is_a_shift_and_for_colour_a_flip(channels: int, size: int, reach: int) -> None:
    data = made_up(300, channels, size)
    images, labels = whole(batches(data, size=64, augment=True))
    mean, std = np.array(data.mean)[:, None, None], np.array(data.std)[:, None, None]
    found = []
    for image, label in zip(images.numpy(), labels.tolist(), strict=True):
        raw = data.train.images[label].numpy()
        shown = np.round((image * std + mean) * 255)
        matches = []
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                moved = np.zeros_like(raw)
                for row in range(max(0, -down), min(size, size - down)):
                    columns = slice(max(0, -right), min(size, size - right))
                    moved[:, row, columns] = raw[:, row + down, columns.start + right : columns.stop + right]
                for flipped in (False, True):
                    truth = moved[:, :, ::-1] if flipped else moved
                    if (shown == truth).all():
                        matches.append((down, right, flipped))
        assert len(matches) == 1
        found += matches
    every = range(-reach, reach + 1)
    assert {down for down, _, _ in found} == {right for _, right, _ in found} == set(every)
    assert len({(down, right) for down, right, _ in found}) > 0.9 * len(every) ** 2
    flips = sum(flipped for _, _, flipped in found)
    assert 100 < flips < 200 if channels == 3 else flips == 0


def test_a_default_device_elsewhere_changes_nothing() -> None:
    data = made_up(20, 3, 8)
    expected = whole(batches(data, augment=True))
    with torch.device("meta"):
        images, labels = whole(batches(data, augment=True))
        assert load_data("digits").train.images.device.type == "cpu"
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])


def test_batches_refuse_what_cannot_work() -> None:
    data = made_up(20, 3, 8)
    for size in (0, -1):
        with pytest.raises(CannonError, match=f"made up: batch_size is {size}"):
            batches(data, size)
    with pytest.raises(DataError, match="1 channels, the data set 3"):
        Batches(made_up(20, 1, 8).train, data, 4, shuffle=False, augment=False, seed=0)


def test_what_is_held_out_is_a_tenth_and_is_gone_from_the_rest() -> None:
    data = load_data("digits")
    rest, taken = hold_out(data)
    assert torch.equal(taken.images, data.train.images[::10])
    assert len(rest.train) + len(taken) == len(data.train)
    assert torch.equal(rest.train.labels, data.train.labels[torch.arange(len(data.train)) % 10 != 0])
    assert rest.test is data.test
