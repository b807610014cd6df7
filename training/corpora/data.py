"""Data: MNIST, verified byte for byte, whatever its source.

Written as IDX (big-endian header, then the bytes), the four arrays must have the SHA-256 of the
files that Yann LeCun published in 1998.
"""

import hashlib
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHA256 = {
    "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
HELD_BACK = 5_000


class DataError(Exception):
    """A data set is missing, damaged, or another than expected."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Images uint8 [n,28,28], white ink on black, and labels uint8 [n] in 0–9.

    Those of another data set may have another size.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Split:
    """Digits to learn from, to choose by, and to test with, once, at the end."""

    train: Digits
    validation: Digits
    test: Digits
    sha256: dict[str, str]


def load(path: Path | None = None, *, any_data: bool = False) -> Split:
    """Load MNIST, and hold back the last 5,000 training images, or a twelfth of a smaller set.

    Args:
        path: An .npz with Keras' keys; by default it is downloaded from Keras' public address.
        any_data: Accept arrays that are not MNIST's, as tests do; shapes and types must hold.

    Raises:
        DataError: The file is missing or broken, or its arrays are not the expected ones.
    """
    arrays = _read(path if path is not None else _download())
    sha256 = {name: idx_sha256(array) for name, array in arrays.items()}
    wrong = [name for name in SHA256 if sha256[name] != SHA256[name]]
    if wrong and not any_data:
        raise DataError(
            f"{', '.join(wrong)} of {path or 'the download'} is not MNIST's: "
            "the SHA-256 of its IDX bytes differs from the official file's"
        )
    images, labels = arrays["x_train"], arrays["y_train"]
    held_back = min(HELD_BACK, len(images) // 12)
    return Split(
        train=Digits(images[:-held_back], labels[:-held_back]),
        validation=Digits(images[-held_back:], labels[-held_back:]),
        test=Digits(arrays["x_test"], arrays["y_test"]),
        sha256=sha256,
    )


def load_other(path: Path) -> Digits:
    """Load digits of another data set, to evaluate on: an .npz with x uint8 [n,h,w] and y [n].

    Raises:
        DataError: The file is missing, broken, or has other arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            digits = Digits(archive["x"], archive["y"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no x and y to be read: {error}") from error
    if digits.images.dtype != np.uint8 or digits.images.ndim != 3:
        raise DataError(f"{path}: x is {digits.images.dtype} {digits.images.shape}, not [n,h,w]")
    return digits


def path_from_environment() -> Path | None:
    """Return the path that the environment variable DIGITS_DATA names, if any."""
    name = os.environ.get("DIGITS_DATA")
    return Path(name) if name else None


def idx_sha256(array: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of `array` as IDX: 0, 0, type 8 (uint8), rank, sizes, then the bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def _download() -> Path:
    import keras  # noqa: PLC0415  takes seconds and is needed only without a local file

    try:
        keras.datasets.mnist.load_data()
    except Exception as error:
        raise DataError(
            f"MNIST could not be downloaded ({error}); "
            "name a local mnist.npz with --data or DIGITS_DATA"
        ) from error
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return home / "datasets" / "mnist.npz"


def _read(path: Path) -> dict[str, NDArray[np.uint8]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in SHA256}
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not an .npz file, or truncated: {error}") from error
    for images, labels in (("x_train", "y_train"), ("x_test", "y_test")):
        x, y = arrays[images], arrays[labels]
        if x.dtype != np.uint8 or x.ndim != 3 or x.shape[1:] != (28, 28):
            raise DataError(f"{path}: {images} is {x.dtype} {x.shape}, not uint8 [n,28,28]")
        if y.dtype != np.uint8 or y.shape != x.shape[:1] or y.max(initial=0) > 9:
            raise DataError(f"{path}: {labels} is not one uint8 label in 0–9 for each image")
    return arrays
