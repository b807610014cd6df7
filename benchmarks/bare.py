"""The compute floor: TensorFlow and a SavedModel, without the service or any other import.

`python -m benchmarks.bare MODEL IMAGES.npy` prints `loaded`, and then answers each line
`threads batch seconds` with images a second and core microseconds an image of the bare signature,
called from so many threads with batches of those images.
"""

from __future__ import annotations

import os
import sys
import threading
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}

import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
model = tf.saved_model.load(sys.argv[1])
signature = model.signatures["serving_default"]


def measure(threads: int, batch: int, seconds: float) -> tuple[float, float]:
    """Return images a second and core microseconds an image."""
    import numpy as np  # noqa: PLC0415 -- TensorFlow has imported it

    images = np.resize(np.load(sys.argv[2]), (batch, 28, 28))
    done = [0] * threads
    began, spent = time.perf_counter(), time.process_time()

    def work(index: int) -> None:
        while time.perf_counter() < began + seconds:
            signature(images=tf.constant(images))["probabilities"].numpy()
            done[index] += batch

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    passed, spent = time.perf_counter() - began, time.process_time() - spent
    return sum(done) / passed, 1e6 * spent / sum(done)


print("loaded", flush=True)
for line in sys.stdin:
    threads, batch, seconds = line.split()
    print(*measure(int(threads), int(batch), float(seconds)), flush=True)
