"""Model and probe set in, one RDM and a few scalars for each layer out; the model stays as it was.

    probe batches --call--> model --hooks--> outputs --rows--> (n, features) --> RDM, scalars

- `capturer`: Capturer, which runs the probe set in a forward pass of its own. Start reading here.
- `passive`: PassiveCapture, whose hooks are on while the host's own passes run the probe's points.
- `plan`: what the first pass found out: how to call the model (`_call`), which layers (`_layers`).
- `_recorder`: the hooks; `_rows` turns an output into rows, `_scalars` measures them. `_padding`:
  which steps of sequences count; `_other_rows`: layers with several rows for each point, or others.
- `_input`: the inputs as a layer of their own.
- `parameters`, `gradients`: what vital signs read of them. `dependence`: what outputs depend on.
- `_preserve`: `preserve_state` puts everything back, with `_hooks` (hooks of others), `_code`
  (globals, closures, classes) and `_sharded` (FSDP). `_weights`: whether weights have changed.
"""

from __future__ import annotations

from repwatch.capture._call import CallStrategy
from repwatch.capture._preserve import preserve_state
from repwatch.capture._recorder import Capture, LayerCapture
from repwatch.capture.capturer import Capturer
from repwatch.capture.passive import PassiveCapture

__all__ = [
    "CallStrategy",
    "Capture",
    "Capturer",
    "LayerCapture",
    "PassiveCapture",
    "preserve_state",
]
