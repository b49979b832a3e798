"""Secrets among hyperparameters are masked before anything is stored.

mask_secrets({"api_key": "abc", "storage": "mysql://me:pw@host"})
({"api_key": "***", "storage": "mysql://me:***@host"}, ("api_key", "storage"))
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["MASK", "is_secret", "mask_secrets"]

MASK = "***"

# "token" alone means a text token as often as an access token: the word before it decides.
_SECRET = re.compile(
    r"(?:^|[_\-])(?:"
    r"(?:api|access|private|secret|auth|encryption)[_\-]?keys?"
    r"|(?:hub|auth|access|api|bearer|refresh|session|hf|github|gitlab|wandb|id|secret)[_\-]tokens?"
    r"|secrets?|passwords?|passwd|pwd|passphrase|credentials?"
    r")$|^token$",
    re.IGNORECASE,
)
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URL = re.compile(r"([a-z][a-z0-9+.\-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a hyperparameter is named like a secret, such as `hub_token` or `model.apiKey`."""
    last = _WORD.sub("_", name.rpartition(".")[2])
    return _SECRET.search(last) is not None


def mask_secrets(hparams: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Flat hyperparameters without their secrets, and the names of those that were masked.

    Texts whose name is that of a secret are masked, and passwords in URLs, also inside lists.
    """
    masked = {name: _mask(name, value) for name, value in hparams.items()}
    return masked, tuple(name for name, value in masked.items() if value != hparams[name])


def _mask(name: str, value: object) -> object:
    if isinstance(value, str):
        return MASK if value and is_secret(name) else _URL.sub(rf"\1:{MASK}@", value)
    if isinstance(value, list):
        return [_mask(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _mask(str(key), item) for key, item in value.items()}
    return value
