"""Collective operations over the processes of a run; with one process, each is the identity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import UserError


def average_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Replace floating-point tensors by their means over ranks, in place, in one collective call."""
    if not dist.is_initialized() or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(mean.view_as(tensor))


def copy_from_first_rank(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of the first."""
    if dist.is_initialized():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean over ranks, with this rank's gradient.

    For a loss f(mean over ranks of x_r): each rank's gradient is f'(mean) dx_r, and DDP's average of these over ranks is
    the gradient of one process that holds the whole batch. So no collective is needed in the backward pass.
    """
    if not dist.is_initialized():
        return tensor
    mean = tensor.detach().clone()
    average_over_ranks([mean])
    return tensor + (mean - tensor.detach())


def gather_over_ranks(tensor: Tensor) -> Tensor:
    """The rows of every rank's tensor, rank 0's first, without gradient; all have the same shape."""
    if not dist.is_initialized():
        return tensor.detach()
    every = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(every, tensor.detach().contiguous())
    return torch.cat(every)


def broadcast_result(find: Callable[[], Any] | None) -> Any:
    """The result or the error of the first process, in all processes.

    Args:
        find: Called by the first process; None in the others.

    Raises:
        UserError: In every process.
    """
    found: list[Any] = [None, None]
    if find is not None:
        try:
            found[0] = find()
        except UserError as error:
            found[1] = str(error)
    if dist.is_initialized():
        dist.broadcast_object_list(found)
    if found[1] is not None:
        raise UserError(found[1])
    return found[0]


def sum_or_raise(counts: Sequence[int], error: UserError | None = None) -> list[int]:
    """Sums of counts over ranks; if any rank has an error, every rank raises, so that none waits.

    Args:
        counts: The same number of counts on every rank.
        error: The error of this rank, if it has one.

    Raises:
        UserError: The error of this rank, else of the first rank that has one.
    """
    every: list[Any] = [(list(counts), error and str(error))]
    if dist.is_initialized():
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, (list(counts), error and str(error)))
    if error is not None:
        raise error
    for _, message in every:
        if message is not None:
            raise UserError(message)
    return [sum(each) for each in zip(*(numbers for numbers, _ in every), strict=True)]
