"""The collectives that a block of code issues, and the bytes that they make a rank send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What a rank sends in a ring of W ranks, as a multiple of the collective's whole tensor.
SENT: dict[str, Callable[[int], float]] = {
    'all_reduce': lambda W: 2 * (W - 1) / W,
    'all_gather': lambda W: (W - 1) / W,
    'reduce_scatter': lambda W: (W - 1) / W,
    'broadcast': lambda W: 1.0,
}
# Operators of torch's namespace `c10d`, and which of their arguments is the whole tensor.
OPERATORS = {
    'allreduce_': ('all_reduce', 0),
    'allreduce_coalesced_': ('all_reduce', 0),
    'allgather_': ('all_gather', 0),
    '_allgather_base_': ('all_gather', 0),
    'allgather_into_tensor_coalesced_': ('all_gather', 0),
    'reduce_scatter_': ('reduce_scatter', 1),
    '_reduce_scatter_base_': ('reduce_scatter', 1),
    'reduce_scatter_tensor_coalesced_': ('reduce_scatter', 1),
    'broadcast_': ('broadcast', 0),
}


@dataclass(frozen=True)
class Collective:
    """One collective call of this rank."""

    kind: str  # a key of `SENT`, or the operator's own name
    bytes: int  # of the whole tensor: what is summed, what all have after gathering, what they had before scattering
    sent: float  # bytes that this rank sends in a ring


class CountCollectives(TorchDispatchMode):
    """Lists the collectives inside a `with` block, those of DDP's and FSDP2's backward passes included.

    The bytes sent are those of a ring, which NCCL uses for large tensors. Trees and shared memory send others.

    Attributes:
        calls: In the order in which they were issued.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Collective] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == 'c10d':
            name = func.overloadpacket.__name__
            kind, which = OPERATORS.get(name, (name, 0))
            size = sum(x.numel() * x.element_size() for x in tree_leaves(args[which]) if isinstance(x, torch.Tensor))
            factor = SENT[kind](dist.get_world_size()) if kind in SENT else 0.0
            self.calls.append(Collective(kind, size, size * factor))
        return func(*args, **(kwargs or {}))

    def number(self, kind: str) -> int:
        """How many calls of a kind."""
        return sum(call.kind == kind for call in self.calls)

    def sent(self) -> float:
        """Bytes that this rank sends."""
        return sum(call.sent for call in self.calls)
