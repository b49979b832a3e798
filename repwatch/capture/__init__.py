"""Model and probe set in, one RDM and a few scalars for each layer out, and no harm done.

probe batches --call--> model --hooks (recorder)--> rows (n, features) --reduce--> RDM, scalars
`Capturer.run` does a forward pass of its own inside `preserve_state`, which puts everything back;
`Capturer.listen` keeps its hooks on while the host's own passes run the probe's points.
"""

from __future__ import annotations

from repwatch.capture._call import CallStrategy
from repwatch.capture._preserve import preserve_state
from repwatch.capture._recorder import Capture, LayerCapture
from repwatch.capture.capturer import Capturer
from repwatch.capture.passive import Listening

__all__ = ["CallStrategy", "Capture", "Capturer", "LayerCapture", "Listening", "preserve_state"]
