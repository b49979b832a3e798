"""What may go into a column, and how it comes back."""

from __future__ import annotations

import argparse
import enum
import json
import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repwatch.errors import ConfigurationError
from repwatch.registry.names import free_name, made_names, nearest_names
from repwatch.registry.values import dumps, loads, plain, plain_float, plain_int, plain_text

clean_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | clean_text,
    lambda inner: st.lists(inner) | st.dictionaries(clean_text, inner),
    max_leaves=20,
)


@given(json_values)
def test_what_json_knows_comes_back_equal(value):
    assert loads(dumps(value)) == value


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_any_text_can_be_stored(text):
    stored = plain_text(text)
    assert "\x00" not in stored
    assert stored.encode("utf-8").decode("utf-8") == stored


def test_stored_json_is_strict_json():
    text = dumps({"a": math.nan, "b": [math.inf]})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": {"$float": "nan"},
        "b": [{"$float": "inf"}],
    }


def test_containers_namespaces_and_enums_become_plain():
    class Mode(str, enum.Enum):
        FAST = "fast"

    value = argparse.Namespace(mode=Mode.FAST, n=np.int8(2), keys={1: "a", None: "b"})
    assert plain(value) == {"mode": "fast", "n": 2, "keys": {"1": "a", "None": "b"}}


def test_what_holds_itself_ends():
    endless: list = []
    endless.append(endless)
    assert "[[...]]" in dumps(endless)


def test_large_arrays_and_long_reprs_are_cut():
    assert len(dumps(np.arange(100_000))) < 1100
    assert (
        len(plain(object.__new__(type("Long", (), {"__repr__": lambda self: "x" * 9999})))) == 1000
    )


def test_a_repr_that_raises_is_named():
    class Broken:
        def __repr__(self):
            raise KeyError("no")

    assert plain(Broken()) == "<Broken whose repr raised KeyError>"


def test_numbers_are_distinguished_from_other_values():
    assert plain_int(np.uint8(3), "step") == 3
    assert plain_float(np.float16(0.5), "loss") == 0.5
    with pytest.raises(ConfigurationError, match=r"step must be a whole number, got float 0.5"):
        plain_int(0.5, "step")
    with pytest.raises(ConfigurationError, match="loss must be one number, got str 'high'"):
        plain_float("high", "loss")


def test_free_names_count_on():
    assert free_name("net", {"net"}) == "net-2"
    assert free_name("net", {"net", "net-2"}) == "net-3"
    assert free_name("net-2", {"net-2"}) == "net-3"


def test_made_up_names_are_never_taken_and_move_no_random_state():
    import random

    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()
    next(made_names())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert len(set(islice(made_names(), 20))) > 10


def test_near_names_are_found_whatever_their_case():
    names = ["Baseline", "wide-net", "a wide-net with dropout and mixup"]
    assert nearest_names("baselin", names) == ["Baseline"]
    assert set(nearest_names("wide-net", names)) == set(names[1:])
    assert nearest_names("qqq", names) == []
