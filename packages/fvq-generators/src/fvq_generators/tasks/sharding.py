"""Weights, gradients and optimizer state in parts, one on each process (FSDP2), and whole again for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def shard_module(module: nn.Module, blocks: list[nn.Module], device: torch.device, dtype: torch.dtype) -> None:
    """Split the parameters over all processes, in place; every process begins with rank 0's.

    Args:
        module: Module on its device, the same on all processes in shape.
        blocks: Modules inside that are gathered one after the other; the rest is gathered as one.
        device: Device of this process.
        dtype: Dtype in which parameters are gathered and used. They are kept, and gradients are averaged, in float32.
    """
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor, 0)
    options: dict[str, Any] = dict(
        mesh=init_device_mesh(device.type, (dist.get_world_size(),)),
        mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False),
    )
    for block in blocks:
        fully_shard(block, **options)
    fully_shard(module, **options)


def whole(tensor: Tensor) -> Tensor:
    """A tensor of all processes in one piece; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor in parts as `example` is."""
    if not isinstance(example, DTensor):
        return value
    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements)


def gather(state: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU, one after the other, so that no device holds more than one of them.

    Args:
        state: State dict in parts.
        keep: Whether this process wants them; all must ask.
    """
    gathered = {}
    for key, value in state.items():
        one = whole(value.detach())
        if keep:
            gathered[key] = one.cpu()
    return gathered


def whole_optimizer_state(optimizer: torch.optim.Optimizer, keep: bool) -> dict[int, dict[str, Any]]:
    """The state of every parameter by its number, as `Optimizer.state_dict` counts, on the CPU.

    Args:
        optimizer: Optimizer of sharded parameters.
        keep: Whether this process wants it; all must ask.
    """
    gathered: dict[int, dict[str, Any]] = {}
    for number, state in optimizer.state_dict()['state'].items():
        one = {key: whole(value) if isinstance(value, Tensor) else value for key, value in state.items()}
        if keep:
            gathered[number] = {key: value.cpu() if isinstance(value, Tensor) else value for key, value in one.items()}
    return gathered


def split_optimizer_state(
    state: Mapping[int, Mapping[str, Any]], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Any]]:
    """What `whole_optimizer_state` gave, in parts as the parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    return {
        number: {
            key: like(value, parameters[number])
            if isinstance(value, Tensor) and value.shape == parameters[number].shape
            else value
            for key, value in entries.items()
        }
        for number, entries in state.items()
    }
