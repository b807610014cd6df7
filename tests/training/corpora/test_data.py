import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.corpora import data


def arrays(n: int = 60) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    return {
        "x_train": rng.integers(0, 256, (n, 28, 28), np.uint8),
        "y_train": rng.integers(0, 10, n).astype(np.uint8),
        "x_test": rng.integers(0, 256, (n, 28, 28), np.uint8),
        "y_test": rng.integers(0, 10, n).astype(np.uint8),
    }


def saved(path: Path, **changed: NDArray[np.generic] | None) -> Path:
    kept: dict[str, Any] = {
        name: value for name, value in (arrays() | changed).items() if value is not None
    }
    np.savez(path / "digits.npz", **kept)
    return path / "digits.npz"


def test_arrays_that_are_not_mnist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match=r"x_train.*y_test.*SHA-256"):
        data.load(saved(tmp_path))


def test_other_digits_are_let_in_when_asked_for(tmp_path: Path) -> None:
    split = data.load(saved(tmp_path), any_data=True)
    assert (len(split.train), len(split.validation), len(split.test)) == (55, 5, 60)
    assert np.array_equal(split.validation.images, arrays()["x_train"][-5:])
    assert np.array_equal(split.train.labels, arrays()["y_train"][:-5])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"y_test": None}, "y_test", id="array missing"),
        pytest.param({"x_train": np.zeros((60, 27, 28), np.uint8)}, "x_train", id="shape"),
        pytest.param({"x_test": np.zeros((60, 28, 28), np.float32)}, "float32", id="type"),
        pytest.param({"y_train": np.zeros(59, np.uint8)}, "y_train", id="too few labels"),
        pytest.param({"y_train": np.full(60, 10, np.uint8)}, "0–9", id="label 10"),
    ],
)
def test_arrays_of_the_wrong_kind_are_never_let_in(
    tmp_path: Path, changed: dict[str, NDArray[np.generic] | None], message: str
) -> None:
    with pytest.raises(data.DataError, match=message):
        data.load(saved(tmp_path, **changed), any_data=True)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="no such file"):
        data.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99], ids=str)
def test_a_truncated_file_is_a_clear_error(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(data.DataError, match=r"truncated"):
        data.load(path, any_data=True)


def test_a_checksum_is_that_of_the_idx_file() -> None:
    # sha256sum of: 00 00 08 02  00 00 00 02  00 00 00 03  00 01 02 03 04 05
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert data.idx_sha256(array).startswith("ef281b2f6ca26b68")


def test_the_environment_names_a_local_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_DATA", "/somewhere/mnist.npz")
    assert data.path_from_environment() == Path("/somewhere/mnist.npz")
    monkeypatch.delenv("DIGITS_DATA")
    assert data.path_from_environment() is None


def test_mnist_itself_passes_and_one_changed_pixel_does_not(tmp_path: Path) -> None:
    path = Path(os.environ.get("DIGITS_DATA", "missing"))
    if not path.is_file():
        pytest.skip("DIGITS_DATA names no local mnist.npz")
    split = data.load(path)
    assert (len(split.train), len(split.validation), len(split.test)) == (55_000, 5_000, 10_000)
    assert split.sha256 == data.SHA256
    with np.load(path) as archive:
        whole = dict(archive)
    whole["x_test"][9_999, 14, 14] ^= 1
    np.savez(tmp_path / "digits.npz", **whole)
    with pytest.raises(data.DataError, match=r"^x_test of"):
        data.load(tmp_path / "digits.npz")
