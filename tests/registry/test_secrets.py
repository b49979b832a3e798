"""Secrets of a training are not stored, and that is reported once."""

from __future__ import annotations

import pytest

from repwatch import Registry
from repwatch.registry.secrets import is_secret, mask_secrets

from .helpers import LightProbe


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "wandb.api-key", "token", "hub_token", "HF_TOKEN", "db.password",
     "client_secret", "aws_secret_access_key", "credentials"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["pad_token", "num_tokens", "max_tokens", "key_dim", "keyboard", "tokenizer", "monkey",
     "secretary", "token.dropout", "sort_key"],
)  # fmt: skip
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


def test_only_texts_are_masked_and_passwords_in_urls_wherever_they_are() -> None:
    given = {
        "api_key": "abc",
        "token": 7,
        "storage": "mysql+pymysql://me:p4ss@host/db",
        "mirrors": ["https://host/a:b", "https://me:p4ss@host"],
        "model.options": {"password": "p4ss", "width": 3},
        "note": "ratio 3:4 @ noon",
    }
    masked, names = mask_secrets(given)
    assert masked == {
        "api_key": "***",
        "token": 7,
        "storage": "mysql+pymysql://me:***@host/db",
        "mirrors": ["https://host/a:b", "https://me:***@host"],
        "model.options": {"password": "***", "width": 3},
        "note": "ratio 3:4 @ noon",
    }
    assert names == ("api_key", "storage", "mirrors", "model.options")


def test_no_secret_is_in_the_file_and_the_run_says_which_were_masked(registry: Registry) -> None:
    hparams = {"wandb": {"api_key": "verysecret"}, "lr": 0.1}
    run = registry.start_run("mine", probe=LightProbe(), hparams=hparams)  # type: ignore[arg-type]
    registry.start_run("mine", probe=LightProbe(), hparams=hparams, on_exists="resume")  # type: ignore[arg-type]
    stored = registry.run(run.id)
    assert stored.hparams == {"wandb.api_key": "***", "lr": 0.1}
    (note,) = stored.notes
    assert "wandb.api_key" in note
    if registry.path is not None:
        registry.close()
        assert b"verysecret" not in registry.path.read_bytes()
