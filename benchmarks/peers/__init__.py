"""The peers: a module each that serves the SavedModel, run in an environment of its own."""
