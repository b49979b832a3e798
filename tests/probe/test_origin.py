"""Objects of a batch that cannot be made again."""

from __future__ import annotations

import logging

import pytest
import torch

from repwatch.probe._origin import can_restore


class Uncopied:
    """An object of a user's that refuses to be copied."""

    def __deepcopy__(self, memo: object) -> Uncopied:
        raise TypeError("a handle of a device")


def test_the_log_says_why_an_object_of_a_batch_cannot_be_made_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x = torch.ones(4, 2)
    with caplog.at_level(logging.DEBUG, "repwatch"):
        assert not can_restore([x, None], [x, Uncopied()])
    assert "a handle of a device" in caplog.text


def test_an_object_that_can_be_copied_can_be_made_again() -> None:
    x = torch.ones(4, 2)
    assert can_restore([x, None], [x, object()])
