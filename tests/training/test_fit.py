import numpy as np

from training import fit, model


def test_a_share_of_the_weights_is_kept() -> None:
    network = model.build("mlp")
    before = [np.zeros(weight.shape, np.float32) for weight in network.trainable_variables]
    learned = [weight.numpy() for weight in network.trainable_variables]
    fit.mix(network, before, 0.25)
    for weight, was in zip(network.trainable_variables, learned, strict=True):
        np.testing.assert_allclose(weight.numpy(), 0.75 * was, rtol=1e-6)
