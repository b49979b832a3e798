"""The entry point that TensorBoard reads at its start.

An error while this module is imported would take all of TensorBoard down, so it imports nothing
but TensorBoard's own base class; everything else waits in `load`, and a failure there disables only
the RepWatch tab.
"""

from __future__ import annotations

import logging
from typing import Any

from tensorboard.plugins import base_plugin

_log = logging.getLogger(__name__)


class RepWatchLoader(base_plugin.TBLoader):  # type: ignore[misc]
    """Makes the plugin, if it can be made."""

    def define_flags(self, parser: Any) -> None:
        """A flag for registries other than a repwatch.db in or beside the log directory."""
        parser.add_argument_group("RepWatch plugin").add_argument(
            "--repwatch_registry",
            metavar="PATH",
            default="",
            help="Path or URL of the registry that the RepWatch tab shows; separate several by "
            "commas. Without it, each repwatch.db under the log directory, and one beside it.",
        )

    def load(self, context: Any) -> Any:
        """The plugin, or None where its imports fail; the log names the cause."""
        try:
            from repwatch.integrations.tensorboard.plugin import RepWatchPlugin
        except ImportError as error:
            _log.warning("The RepWatch tab is left out: %s: %s", type(error).__name__, error)
            return None
        return RepWatchPlugin(context)
