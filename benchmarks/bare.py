"""The compute floor: TensorFlow and a SavedModel, nothing of the service and no other import.

Says `loaded`, and then answers lines of `threads batch seconds` with images a second and core
milliseconds an image of the bare signature, called by so many threads with so many images of the
file that is named second.
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
    import numpy as np  # noqa: PLC0415 -- with TensorFlow anyway

    images = np.resize(np.load(sys.argv[2]), (batch, 28, 28))
    done = [0] * threads
    began, spent = time.perf_counter(), time.process_time()

    def work(me: int) -> None:
        while time.perf_counter() < began + seconds:
            signature(images=tf.constant(images))["probabilities"].numpy()
            done[me] += batch

    workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    passed, spent = time.perf_counter() - began, time.process_time() - spent
    return sum(done) / passed, 1000 * spent / sum(done)


print("loaded", flush=True)
for line in sys.stdin:
    threads, batch, seconds = line.split()
    print(*measure(int(threads), int(batch), float(seconds)), flush=True)
