"""Drivers and outlets: Lightning, Optuna, loggers, plotly figures and the TensorBoard tab."""
