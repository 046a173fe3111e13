"""Tensors of all processes of an evaluation; each function is the identity if there is one process."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def message_device() -> torch.device:
    """The device from which tensors can be sent: NCCL takes only tensors of a GPU."""
    return torch.device('cuda') if dist.get_backend() == 'nccl' else torch.device('cpu')


def sum_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums over ranks of tensors of one type, in one message; on the CPU."""
    if not dist.is_initialized():
        return list(tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(message_device())
    dist.all_reduce(flat)
    parts = flat.cpu().split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def gather_rows(mine_ND: Tensor, counts: Sequence[int]) -> Tensor:
    """The rows of all ranks, rank 0's first, on the CPU; `counts` are how many each rank holds."""
    if not dist.is_initialized():
        return mine_ND
    padded = torch.zeros(max(counts), *mine_ND.shape[1:], dtype=mine_ND.dtype, device=message_device())
    padded[: len(mine_ND)] = mine_ND
    every = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(every, padded)
    return torch.cat([rows[:count].cpu() for rows, count in zip(every, counts, strict=True)])
