"""Everything that RepWatch raises.

RepWatchError
├── ConfigurationError (ValueError)   an argument that cannot work
│   └── UnknownLayerError             no layer of the model, or run, has that name
├── MissingPackageError (ImportError) an optional package is not installed
├── ProbeError                        no probe set can be made, or read
│   └── ProbeMismatchError            snapshots of two probe sets were to be compared
├── CaptureError                      the probe set cannot be run through the model
├── RDMError                          an RDM that a measure cannot use
│   ├── ConstantRDMError              all its distances are equal
│   └── DivergedRDMError              the activations were NaN or infinite
├── RegistryError                     the registry cannot be read or written
│   ├── RegistryUnavailableError      it does not answer now, and may later
│   │   └── RegistryUnwritableError   the place does not take writes
│   ├── RegistrySchemaError           made by a newer RepWatch
│   ├── RunNotFoundError (LookupError)
│   ├── RunExistsError                the name belongs to another run
│   └── LabelError                    an empty or contradictory label
├── DriftError                        runs that a detector cannot learn from, or judge
├── SpaceError                        a space cannot be fitted, or placed into
└── LoggerError                       a logger did not take a figure or scalar

A message states what was expected, what was found and what to do.
"""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "ConfigurationError",
    "ConstantRDMError",
    "DivergedRDMError",
    "DriftError",
    "LabelError",
    "LoggerError",
    "MissingPackageError",
    "ProbeError",
    "ProbeMismatchError",
    "RDMError",
    "RegistryError",
    "RegistrySchemaError",
    "RegistryUnavailableError",
    "RegistryUnwritableError",
    "RepWatchError",
    "RunExistsError",
    "RunNotFoundError",
    "SpaceError",
    "UnknownLayerError",
]


class RepWatchError(Exception):
    """The root of the tree: catch it to catch all that RepWatch raises."""


class ConfigurationError(RepWatchError, ValueError):
    """An argument cannot work; raised where it is given."""


class UnknownLayerError(ConfigurationError):
    """No layer of the model, or of the run, matches; the message names the nearest."""


class MissingPackageError(RepWatchError, ImportError):
    """An optional package is not installed; the message has the pip line."""


class ProbeError(RepWatchError):
    """A probe set cannot be made, or read."""


class ProbeMismatchError(ProbeError):
    """Snapshots of different probe sets were to be compared."""


class CaptureError(RepWatchError):
    """The probe set cannot be run through the model."""


class RDMError(RepWatchError):
    """An RDM that a measure cannot use."""


class ConstantRDMError(RDMError):
    """All distances are equal: nothing varies that could be compared."""


class DivergedRDMError(RDMError):
    """The activations were NaN or infinite, so there are no distances."""


class RegistryError(RepWatchError):
    """The registry cannot be read or written."""


class RegistryUnavailableError(RegistryError):
    """The registry does not answer now, and may later: what is recorded waits in the spool."""


class RegistryUnwritableError(RegistryUnavailableError):
    """The registry's place does not take writes."""


class RegistrySchemaError(RegistryError):
    """The registry was written by a newer RepWatch."""


class RunNotFoundError(RegistryError, LookupError):
    """No run has that name or id; the message names the nearest."""


class RunExistsError(RegistryError):
    """The run name is taken; the message lists names that are free."""


class LabelError(RegistryError):
    """An empty or contradictory label."""


class DriftError(RepWatchError):
    """A detector cannot learn from these landmarks, or judge this run."""


class SpaceError(RepWatchError):
    """A space cannot be fitted, or a snapshot cannot be placed into it."""


class LoggerError(RepWatchError):
    """A logger did not take a figure or a scalar."""
