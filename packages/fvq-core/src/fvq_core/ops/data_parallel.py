"""Data parallelism: gradients are averaged over ranks in buckets, while the rest of the backward pass runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError, nearest_hint

OPTIONS: dict[str, type] = {'bf16_compress': bool, 'static_graph': bool, 'bucket_mb': float}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise if options, the entry `ddp` of a config, are not those of `data_parallel`."""
    for name, value in options.items():
        if name not in OPTIONS:
            raise UserError(f"ddp: unknown option '{name}'; {nearest_hint(name, OPTIONS)}")
        if OPTIONS[name] is bool and not isinstance(value, bool):
            raise UserError(f'ddp.{name}: expected True or False, got {value!r}.')
        if OPTIONS[name] is float and not (isinstance(value, int | float) and value > 0):
            raise UserError(f'ddp.{name}: expected MiB above 0, got {value!r}; 25 is the default.')


def data_parallel(
    module: nn.Module, bf16_compress: bool = False, static_graph: bool = False, bucket_mb: float = 25.0
) -> DistributedDataParallel:
    """A module in DDP, whose buckets are the same in the first step as in all later ones.

    DDP deals parameters to buckets in reverse order of registration, and again after its first backward pass, in the order
    in which gradients became ready. Where a gradient lies in a bucket decides the order in which more than two ranks add it
    up, so a resumed run would round its first step differently from one that never stopped. A first pass through
    nothing but the parameters, here, leaves the order of registration for good: last layers first, as gradients come.

    Args:
        module: Module on its device, with the same parameters on every rank; rank 0's values are sent to all.
        bf16_compress: Send gradients in bfloat16: half the bytes, and 8 bits of mantissa in each sum.
        static_graph: Promise that every step uses the same parameters, and each as often in a backward pass. Reentrant
            checkpointing needs it. It fails where a part of the module is left out in some steps.
        bucket_mb: Size of a bucket in MiB. Smaller ones start earlier and cost more launches.
    """
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.dim() == 4 and parameter.shape[2:] == (1, 1):
            parameter.register_hook(partial(with_strides_of, parameter))
    ddp = DistributedDataParallel(
        module,
        broadcast_buffers=False,
        bucket_cap_mb=bucket_mb,
        gradient_as_bucket_view=True,  # else every gradient exists twice
        static_graph=static_graph,
    )
    if bf16_compress:
        ddp.register_comm_hook(None, bf16_compress_hook)
    module.forward = lambda: torch.stack([p.flatten()[0].float() for p in module.parameters() if p.requires_grad]).sum()
    for _ in range(2 if static_graph else 1):
        ddp().mul(0.0).backward()
    del module.forward
    module.zero_grad()
    return ddp


def with_strides_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a 1x1 convolution with its weight's strides, which DDP's bucket has.

    Channels-last or not, they differ only for the axes of length 1, where they mean nothing; DDP warns of them.
    """
    same = gradient.stride()[:2] == parameter.stride()[:2]
    return gradient.as_strided(gradient.shape, parameter.stride()) if same else gradient
