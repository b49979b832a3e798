"""RepWatchCallback, for `transformers.Trainer`.

- `callback`: the hooks of a TrainerCallback, each of which calls the driver. Start reading here.
- `driver`: one training that is being watched.
- `host`: finds the Trainer, and reads probe points of its data sets.
- `batches`: its batches as they pass by, for streams.
- `arguments`: its TrainingArguments as hyperparameters.
"""

from __future__ import annotations

from repwatch.errors import MissingPackageError

try:
    from repwatch.integrations.transformers.callback import RepWatchCallback
except ImportError as error:
    if (error.name or "").split(".")[0] == "repwatch":
        raise
    raise MissingPackageError(
        "Using repwatch.transformers, but the 'transformers' package cannot be imported "
        f"({error}). Run `pip install 'repwatch[transformers]'`."
    ) from error

__all__ = ["RepWatchCallback"]
