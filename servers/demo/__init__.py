"""The demo: a real run on a small real repository with a real failing test; only the model is scripted."""
