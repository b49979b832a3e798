"""RepWatch's share of the training time."""

from __future__ import annotations

from repwatch.errors import ConfigurationError

__all__ = ["Throttle"]


class Throttle:
    """Limits RepWatch's share of the training time below a limit.

    Args:
        share: The largest share of the elapsed time, in (0, 1].
        grace: Seconds that RepWatch may always take, so that short runs are watched in full.
        name: What the share is called where it was given.

    Examples:
        >>> from repwatch.watch import Throttle
        >>> throttle = Throttle(0.02, grace=0.0)
        >>> throttle.spent += 1.0
        >>> throttle.allows(elapsed=30.0), throttle.allows(elapsed=60.0)
        (False, True)
    """

    def __init__(self, share: float, grace: float = 20.0, *, name: str = "max_overhead") -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ConfigurationError(
                f"Expected `{name}` to be a share in (0, 1], such as 0.02, but got {share!r}."
            )
        self.share = float(share)
        self.grace = grace
        self.spent = 0.0

    def allows(self, elapsed: float) -> bool:
        """Whether one more snapshot fits, `elapsed` seconds after training began."""
        return self.spent <= self.grace + self.share * elapsed
