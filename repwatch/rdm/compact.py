"""RDMs in fewer bytes than `encode` gives, with less precision; told apart by their length.

| form | bytes for n points | what is exact |
|---|---|---|
| "float16" | n(n-1) | each distance to 5e-4 of itself |
| "int8" | n(n-1)/2 | each distance to 2e-3 of the largest |
| "coordinates" | 32 n | the first 16 principal components; distances are those between them |
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from repwatch.errors import RDMError
from repwatch.rdm.condensed import Array, Float32, check, count_points, decode, encode, pairs
from repwatch.rdm.views import pca

__all__ = ["COMPONENTS", "Form", "decode_form", "encode_form", "form_lengths"]

Form: TypeAlias = Literal["float16", "int8", "coordinates"]

COMPONENTS = 16
_LEVELS = 255


def form_lengths(points: int) -> dict[Form, int]:
    """The bytes of each form that an RDM of this many points can have, no two of them equal.

    With few points there is no form "coordinates": it would take as much room as the distances.

    Examples:
        >>> form_lengths(256)
        {'float16': 65280, 'int8': 32640, 'coordinates': 8192}
        >>> form_lengths(24)
        {'float16': 552, 'int8': 276}
    """
    distances = points * (points - 1) // 2
    lengths: dict[Form, int] = {"float16": 2 * distances, "int8": distances}
    if 2 * COMPONENTS * points < distances:
        lengths["coordinates"] = 2 * COMPONENTS * points
    return lengths


def encode_form(D: Array, form: Form) -> tuple[bytes, float]:
    """The bytes that are stored of an RDM, and their scale.

    Where there are too few points for coordinates, they are stored as int8.

    Raises:
        RDMError: No condensed RDM has that shape.
        DivergedRDMError: A distance is NaN or infinite.

    Examples:
        >>> D = np.random.default_rng(0).uniform(1, 2, 66 * 65 // 2)
        >>> [len(encode_form(D, form)[0]) for form in ("float16", "int8", "coordinates")]
        [4290, 2145, 2112]
    """
    if form == "float16":
        return encode(D)
    values = check(D)
    if form == "coordinates" and "coordinates" in form_lengths(count_points(values)):
        components = pca(values, COMPONENTS)
        scale = float(np.abs(components).max())
        return (components / (scale or 1.0)).astype("<f2").tobytes(), scale
    scale = float(values.max())
    return np.rint(values * (_LEVELS / (scale or 1.0))).astype(np.uint8).tobytes(), scale


def decode_form(blob: bytes, scale: float, points: int) -> Float32:
    """The condensed RDM, float32, of the bytes and the scale that `encode_form` returned.

    Raises:
        RDMError: The bytes fit no form of an RDM of this many points.

    Examples:
        >>> blob, scale = encode_form(np.array([3.0, 4.0, 5.0]), "int8")
        >>> decode_form(blob, scale, points=3).round(2)
        array([3., 4., 5.], dtype=float32)
    """
    forms = {length: form for form, length in form_lengths(points).items()}
    form = forms.get(len(blob))
    if form is None:
        expected = ", ".join(map(str, forms))
        raise RDMError(f"Expected {expected} bytes for {points} points. Got {len(blob)}.")
    if form == "float16":
        return decode(blob, scale)
    if form == "int8":
        levels = np.frombuffer(blob, dtype=np.uint8).astype(np.float32)
        scaled: Float32 = levels * np.float32(scale / _LEVELS)
        return scaled
    components = np.frombuffer(blob, dtype="<f2").astype(np.float64).reshape(points, -1) * scale
    left, right = pairs(points)
    D: Float32 = np.linalg.norm(components[left] - components[right], axis=1).astype(np.float32)
    return D
