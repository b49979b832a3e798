"""The processes of a distributed training: which one writes, and decisions that all share."""

from __future__ import annotations

import torch
import torch.distributed as dist

__all__ = ["any_rank", "as_first_rank", "count_ranks", "is_first_rank"]


def count_ranks() -> int:
    """The number of processes that train together, 1 where torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_rank() -> bool:
    """Whether this process is the one that opens the run and writes."""
    return count_ranks() == 1 or dist.get_rank() == 0


def any_rank(decision: bool) -> bool:
    """Whether any process decided so. All processes must call this together."""
    if count_ranks() == 1:
        return decision
    votes = torch.tensor(int(decision), device=_device())
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def as_first_rank(decision: bool) -> bool:
    """What the first process decided. All processes must call this together."""
    return any_rank(decision and is_first_rank())


def _device() -> torch.device:
    """A device whose tensors the processes' backend can send."""
    on_cuda = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
