"""What several test modules share: small trainings through either Lightning namespace."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest

# Lightning's own, about this machine and not about RepWatch.
LIGHTNING_NOISE = (
    "ignore:.*does not have many workers.*",
    "ignore:.*module\\(s\\) in eval mode.*",
    "ignore:.*The number of training batches.*",
    "ignore:.*but have no `val_dataloader`.*",
    "ignore:.*across ranks is zero.*",
    "ignore:.*Checkpoint directory.*",
    "ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    "ignore:.*os.fork\\(\\) was called.*",
    "ignore:.*use_fork.*:DeprecationWarning",
    "ignore:.*Starting from v1.9.0, `tensorboardX` has been removed.*",
    "ignore:.*unclosed file.*:ResourceWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for noise in LIGHTNING_NOISE:
            item.add_marker(pytest.mark.filterwarnings(noise))


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> ModuleType:
    """Each Lightning namespace in turn; skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")
