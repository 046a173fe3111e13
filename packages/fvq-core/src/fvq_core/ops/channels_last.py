"""What operators on channels-last features (N, C, H, W), that is (N, S, C) in memory with S = H * W, have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from .kernels import Kernel

DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # kernels compute in float32, so float64 stays with torch


def fused(kernel: Kernel, x: Tensor) -> bool:
    """Whether a kernel is to run on these features."""
    return x.dim() == 4 and x.dtype in DTYPES and kernel.enabled(x.device)


def autocast(x: Tensor) -> Tensor:
    """Features in the type of the surrounding autocast, as a convolution would see them."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype != torch.float64:
        return x.to(torch.get_autocast_dtype(kind))
    return x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def empty_channels_last(x: Tensor, times: int = 1, over: int = 1) -> Tensor:
    """Room for features like these, with `times / over` times the height and the width."""
    N, C, H, W = x.shape
    shape = (N, C, H * times // over, W * times // over)  # no `int`, which would fix a size in a graph of any size
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def empty_float(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, device=x.device, dtype=torch.float32)


def device_of(x: Tensor) -> AbstractContextManager:
    """Triton launches on the current device."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def load_kernels(file: str) -> Any:
    """A module of Triton kernels; as Any, because type checkers take a launch for a call of the kernel's body."""
    return import_module(f'.triton.{file}', __package__)


def power_of_2(n: int) -> int:
    """The smallest one that is n or more."""
    return 1 << max(0, n - 1).bit_length()
