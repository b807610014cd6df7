"""Corpora: the digits that a network learns from and is measured on, and what is no digit."""

import numpy as np

Rng = np.random.Generator
