"""Figures as summaries for event files.

A payload (`figures.payload`) becomes one summary of the data class BLOB_SEQUENCE: a string tensor
of shape [1]. It is compressed, because TensorBoard's checksum in Python costs time by length.
"""

from __future__ import annotations

import gzip
from typing import Any

from tensorboard.compat.proto.summary_pb2 import (
    DATA_CLASS_BLOB_SEQUENCE,
    Summary,
    SummaryMetadata,
)
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING

__all__ = ["PLUGIN_NAME", "figure_summary"]

PLUGIN_NAME = "repwatch"


def figure_summary(tag: str, payload: bytes, *, description: str = "") -> Any:
    """The summary that shows `payload` under `tag` in the RepWatch tab.

    Args:
        tag: for example "repwatch/map".
        payload: JSON bytes from `figures.payload`.
        description: plain text, shown beside the figure.

    Returns:
        A `Summary`, for `SummaryWriter._get_file_writer().add_summary(summary, step)`.
    """
    metadata = SummaryMetadata(
        display_name=tag,
        summary_description=description,
        plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=b"1"),
        data_class=DATA_CLASS_BLOB_SEQUENCE,
    )
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    blob = gzip.compress(payload, compresslevel=6, mtime=0)
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=[blob])
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
