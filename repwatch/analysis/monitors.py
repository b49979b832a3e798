"""The metric that decides how good a run is, where nobody names it: customary names and modes.

customary_mode("val/f1")                      "max"
find_monitor(["train_loss", "val_loss"])      Monitor("val_loss", "min", ...)
read_trainer_arguments(args)                  what Hugging Face's TrainingArguments say
read_direction("maximize")                    the mode of an Optuna study
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from repwatch.registry.records import Mode

__all__ = [
    "Monitor",
    "customary_mode",
    "find_monitor",
    "is_loss",
    "is_share",
    "read_direction",
    "read_trainer_arguments",
]

# Words of a metric's name; the former come first: an "error_rate" is better where it is smaller.
_SMALLER = """
loss nll ce bce mse rmse mae mape smape perplexity ppl error err wer cer fid bpc bpb bpd kl
crossentropy brier ece hamming
"""
_LARGER = """
acc accuracy top1 top5 f1 fscore auc auroc auprc ap map precision recall sensitivity specificity
bleu rouge rouge1 rouge2 rougel meteor psnr ssim iou miou dice r2 r2score mcc kappa ndcg mrr hits
reward return score correlation pearson spearman em
"""
_SHARES = "acc accuracy top1"
_HELD_OUT = "val valid validation eval dev"


class Monitor(NamedTuple):
    """A metric that decides how good a run is.

    Attributes:
        metric: Its name.
        mode: "min" if less is better, "max" if more is.
        source: Who says so, for a person: "EarlyStopping", "its customary name".
    """

    metric: str
    mode: Mode
    source: str

    @property
    def note(self) -> str:
        """One sentence for a person."""
        better = "less" if self.mode == "min" else "more"
        return f"{self.metric} decides how good the run is ({better} is better), by {self.source}."


def customary_mode(metric: str) -> Mode | None:
    """Whether less ("min") or more ("max") of a metric is better, by its name; None: unknown.

    >>> customary_mode("val_loss"), customary_mode("valid/top1"), customary_mode("width")
    ('min', 'max', None)
    """
    if _has(metric, _SMALLER):
        return "min"
    return "max" if _has(metric, _LARGER) else None


def is_share(metric: str) -> bool:
    """Whether a metric is the share of points that are classified correctly, by its name."""
    return _has(metric, _SHARES) and customary_mode(metric) == "max"


def is_loss(metric: str) -> bool:
    """Whether a metric is a loss, by its name."""
    return _has(metric, "loss")


def find_monitor(metrics: Iterable[str]) -> Monitor | None:
    """The metric that decides by custom: of a validation set, a loss before anything else.

    >>> find_monitor(["train_loss", "val_acc", "val/loss"])
    Monitor(metric='val/loss', mode='min', source='its customary name')
    >>> find_monitor(["train_loss"]) is None
    True
    """
    held_out = [name for name in metrics if _has(name, _HELD_OUT)]
    known = [(name, mode) for name in held_out if (mode := customary_mode(name)) is not None]
    if not known:
        return None
    metric, mode = min(known, key=lambda found: (not is_loss(found[0]), len(found[0]), found[0]))
    return Monitor(metric, mode, "its customary name")


def read_trainer_arguments(arguments: Any) -> Monitor | None:
    """What `transformers.TrainingArguments` say: `metric_for_best_model`, `greater_is_better`.

    Without the prefix "eval_" the metric gets it, as transformers' own callbacks have it.
    """
    metric = getattr(arguments, "metric_for_best_model", None)
    if not isinstance(metric, str) or not metric:
        return None
    metric = metric if metric.startswith("eval_") else f"eval_{metric}"
    greater = getattr(arguments, "greater_is_better", None)
    mode = customary_mode(metric) if greater is None else read_mode(greater)
    return None if mode is None else Monitor(metric, mode, "metric_for_best_model")


def read_direction(direction: object) -> Mode:
    """The mode of an Optuna study: its `direction` is an enum, or one of its names.

    >>> read_direction("maximize")
    'max'
    """
    name = str(getattr(direction, "name", direction)).lower()
    return read_mode(name.startswith("max"))


def read_mode(greater: object) -> Mode:
    """The mode where larger values are better, or not."""
    return "max" if greater else "min"


def _has(metric: str, words: str) -> bool:
    """Whether a name such as "val/topLoss_1" has one of these words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", metric)
    own = {word.lower() for word in re.split(r"[^0-9A-Za-z]+", spaced)}
    return not own.isdisjoint(words.split())
