"""The trainings, each a module with `train(callbacks, root)` that returns the trained module."""
