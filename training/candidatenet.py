"""The candidate net: taught which candidates of a row are its digits, and which none.

A row's text says which digits it has, and not where they are: the likeliest way through its lattice
that says this text, by what is known so far, does. The candidates on that way are its digits, all
others are none (LeCun and others 1998, section V). Stochastic gradients (Adam) in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.inference.alignment import alignments
from app.inference.candidatenet import NET_FILE, NONE, CandidateNet
from app.inference.lattice import Lattice

HIDDEN = 96
EPOCHS, BATCH, RATE = 8, 256, 2e-3
DROPOUT, NOISE, DECAY = 0.15, 0.1, 1e-5
"""Share of hidden values, and noise of inputs in standard deviations, while it learns; and weight
of the squared weights."""

Layers = list[NDArray[np.float32]]


def align(text: str, lattice: Lattice) -> NDArray[np.intp] | None:
    """Which digit each candidate is, or `NONE`, [n], on the likeliest way that says `text`.

    Returns:
        None where no way does.
    """
    (found,) = alignments(lattice, [text])
    if found is None:
        return None
    labels = np.full(len(lattice.spans), NONE)
    for candidate, label in found.digits:
        labels[candidate] = label
    return labels


def teach(inputs: NDArray[np.float32], labels: NDArray[np.intp], *, seed: int) -> CandidateNet:
    """Teach a net the labels [n] of inputs [n,k]."""
    rng = np.random.default_rng(seed)
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + np.float32(0.01)
    standard = (inputs - mean) / scale
    layers = _start(inputs.shape[1], rng)
    adam = Adam(layers, EPOCHS * (len(inputs) // BATCH))
    for epoch in range(EPOCHS):
        order = rng.permutation(len(inputs))
        losses = []
        for start in range(0, len(order) - BATCH + 1, BATCH):
            some = order[start : start + BATCH]
            loss, slopes = _slopes(layers, standard[some], labels[some], rng)
            adam.step(slopes)
            losses.append(loss)
        print(f"epoch {epoch}: {np.mean(losses):.4f} nats a candidate", flush=True)
    return CandidateNet(mean, scale, *layers)


def _start(inputs: int, rng: np.random.Generator) -> Layers:
    layers = [
        rng.normal(0, math.sqrt(2 / inputs), (inputs, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0, 0.05, (HIDDEN, NONE + 1)),
        np.zeros(NONE + 1),
    ]
    return [layer.astype(np.float32) for layer in layers]


def _slopes(
    layers: Layers, x: NDArray[np.float32], y: NDArray[np.intp], rng: np.random.Generator
) -> tuple[float, Layers]:
    """The loss of a batch, and its slope by each weight."""
    hidden, hidden_bias, output, output_bias = layers
    x = x + NOISE * rng.standard_normal(x.shape, np.float32)
    h = x @ hidden + hidden_bias
    kept = (h > 0) * (rng.random(h.shape, np.float32) > DROPOUT) / np.float32(1 - DROPOUT)
    h = h * kept
    logits = h @ output + output_bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    at = np.arange(len(y)), y
    loss = float(-np.log(p[at] + 1e-9).mean())
    p[at] -= 1
    p /= len(y)
    below = (p @ output.T) * kept
    slopes: Sequence[NDArray[np.floating]] = (
        x.T @ below + DECAY * hidden,
        below.sum(axis=0),
        h.T @ p + DECAY * output,
        p.sum(axis=0),
    )
    return loss, [np.asarray(slope, np.float32) for slope in slopes]


class Adam:
    """Adam (Kingma and Ba 2015); the rate falls to nothing along a cosine."""

    def __init__(self, layers: Layers, steps: int) -> None:
        self._layers = layers
        self._mean = [np.zeros_like(layer) for layer in layers]
        self._square = [np.zeros_like(layer) for layer in layers]
        self._step, self._steps = 0, steps

    def step(self, slopes: Layers) -> None:
        """Change the layers by their slopes."""
        self._step += 1
        rate = RATE * (1 + math.cos(math.pi * self._step / self._steps)) / 2
        first, second = 1 - 0.9**self._step, 1 - 0.999**self._step
        for layer, mean, square, slope in zip(
            self._layers, self._mean, self._square, slopes, strict=True
        ):
            mean[:] += np.float32(0.1) * (slope - mean)
            square[:] += np.float32(0.001) * (slope**2 - square)
            layer[:] -= np.float32(rate / first) * mean / (np.sqrt(square / second) + 1e-8)


def write(net: CandidateNet) -> None:
    """Write the net that ships, in halves of floats: it loses nothing by that."""
    np.savez_compressed(NET_FILE, **{n: a.astype(np.float16) for n, a in net._asdict().items()})
