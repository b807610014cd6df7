"""Inference: a version of the model, verified, loaded and ready to classify."""
