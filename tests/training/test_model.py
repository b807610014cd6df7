import numpy as np
import pytest

from training import model


@pytest.mark.parametrize(
    ("arch", "parameters", "multiply_adds"),
    [
        ("cnn", 269_482, 15_326_592),
        ("slim", 257_211, 6_295_888),
        ("glance", 85_163, 1_024_416),
        ("mlp", 101_770, 101_632),
    ],
)
def test_a_network_costs_what_it_says(arch: str, parameters: int, multiply_adds: int) -> None:
    network = model.build(arch)
    assert network.count_params() == parameters <= 300_000
    assert model.multiply_adds(network) == multiply_adds <= 20_000_000


@pytest.mark.parametrize("arch", sorted(model.ARCHITECTURES))
def test_a_network_answers_finite_logits(arch: str) -> None:
    logits = model.build(arch)(np.ones((3, 28, 28, 1), np.float32)).numpy()
    assert logits.shape == (3, 11 if arch in ("slim", "glance") else 10)
    assert np.isfinite(logits).all()
