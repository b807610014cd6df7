from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.inference.cascade import ACCURATE, FAST, SINGLE
from tests.conftest import ROOT
from training import calibrate, export, model, pretrained
from training.corpora import data

SHIPPED = ROOT / "models" / "digits" / "7"
IMAGES = export.golden_images()

# Keras 3.15 saving weights under NumPy 2.4.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def untrained(arch: str, models: Path) -> tuple[Any, Path]:
    """A network whose batch norms are not at their start, and its version's folder."""
    network = model.build(arch)
    noise = np.random.default_rng(0).random((64, 28, 28, 1), np.float32)
    for _ in range(3):
        network(noise, training=True)
    card = {"arch": arch, "figures": {}, "thresholds": {"digit_score": 0, "confidence": 0}}
    return network, export.export(network, 1.0, card, models).folder


@pytest.mark.parametrize("arch", sorted(model.ARCHITECTURES))
def test_a_restored_network_computes_what_the_version_does(arch: str, tmp_path: Path) -> None:
    network, folder = untrained(arch, tmp_path)
    restored = pretrained.restore(folder, SINGLE, arch, IMAGES)
    expected = model.logits_of(network, IMAGES)
    np.testing.assert_allclose(model.logits_of(restored, IMAGES), expected, atol=1e-3)


def test_its_batch_norms_are_as_after_training(tmp_path: Path) -> None:
    _, folder = untrained("slim", tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (400, 28, 28), np.uint8)
    restored = pretrained.restore(folder, SINGLE, "slim", images)
    norm = model.batch_norms(restored)[0]
    # As started, they would be 0 and 1.
    assert norm.moving_mean.numpy().std() > 0.01
    np.testing.assert_allclose(
        norm.gamma.numpy() ** 2, norm.moving_variance.numpy() + norm.epsilon, rtol=1e-4
    )


def test_the_networks_of_the_version_that_ships() -> None:
    networks = pretrained.networks_of(SHIPPED)
    assert networks == {ACCURATE: "slim", FAST: "glance"}
    digits = IMAGES[:20]
    for name, arch in networks.items():
        restored = pretrained.restore(SHIPPED, name, arch, IMAGES)
        probabilities = calibrate.softmax(model.logits_of(restored, digits)[:, :10])
        expected = export.reader(SHIPPED)(digits)[:, :10]
        assert np.array_equal(probabilities.argmax(axis=1), expected.argmax(axis=1))


def test_what_can_not_be_gone_on_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="no card of a version"):
        pretrained.networks_of(tmp_path)
    with pytest.raises(data.DataError, match="its fast network is no 'slim' to go on from"):
        pretrained.restore(SHIPPED, FAST, "slim", IMAGES)
    with pytest.raises(data.DataError, match="its other network is no 'slim'"):
        pretrained.restore(SHIPPED, "other", "slim", IMAGES)
