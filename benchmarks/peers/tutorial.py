"""FastAPI as in tutorials: an `async def` route, a Keras model, `model.predict`."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import uvicorn
from fastapi import FastAPI, UploadFile

from benchmarks.peers import digit

pixels = keras.Input((28, 28), dtype="uint8", name="images")
layer = keras.layers.TFSMLayer(os.environ["MODEL"], call_endpoint="serving_default")
model = keras.Model(pixels, layer(pixels))
app = FastAPI()


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, Any]:
    """Answer an upload, while the event loop waits."""
    image = digit.read(await file.read())
    rows = model.predict(image[np.newaxis], verbose=0)
    return digit.answer(rows["probabilities"][0])


if __name__ == "__main__":
    uvicorn.run(app, port=digit.port(), log_level="error", access_log=False)
