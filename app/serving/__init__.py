"""From requests to predictions: admission, batches, worker threads, the predictor."""
