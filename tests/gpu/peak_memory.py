"""Memory that a call takes on the GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch


def extra_mib(call: Callable[[], object], before: Callable[[], object]) -> float:
    """Peak of allocated memory during `call` over what was allocated at its start.

    `before` runs first, so that libraries have their workspaces.
    """
    before()
    torch.cuda.synchronize()
    start = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - start) / 2**20
