from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write scikit-learn's 8×8 digits as MNIST's are: 20 pixels in the middle of 28."""
    bunch = load_digits()
    gray = (bunch.images * 15.9).astype(np.uint8)
    images = np.stack([np.pad(cv2.resize(image, (20, 20)), 4) for image in gray])
    labels = bunch.target.astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    parts = {"x_train": images[:1400], "y_train": labels[:1400]}
    np.savez(path, **parts, x_test=images[1400:], y_test=labels[1400:])
    return path


@pytest.fixture(scope="session")
def small_version(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version trained on `small_data`; copy it to alter it."""
    from training import train  # noqa: PLC0415 -- TensorFlow takes seconds

    folder = tmp_path_factory.mktemp("small-version")
    places = [f"--data={small_data}", f"--models={folder / 'models'}", f"--runs={folder / 'runs'}"]
    words = ["--any-data", "--arch", "mlp", "--epochs", "8", "--batch-size", "32", *places]
    assert train.main(words) == 0
    return folder / "models" / "1"


@pytest.fixture(scope="session")
def own_images(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a label: test digits of `small_data`, scanned: large, dark on white."""
    folder = tmp_path_factory.mktemp("own")
    with np.load(small_data) as digits:
        images, labels = digits["x_test"][:120], digits["y_test"][:120]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        large = np.pad(255 - cv2.resize(image, (112, 112)), 20, constant_values=255)
        cv2.imwrite(str(folder / str(label) / f"{index}.png"), large)
    return folder
