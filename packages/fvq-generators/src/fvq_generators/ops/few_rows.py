"""When the kernels of a decoding step run, and in which tiles."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.ops.kernels import Kernel, interpreted

STEP = Kernel('decoding_step')
MOST_ROWS = 256  # beyond, a step is bound by arithmetic, and the libraries' products are faster
DIRECT_ROWS = 16  # up to here each program computes the norms of all rows by itself


def runs_fused(device_type: str, index: int | None, dtype: torch.dtype) -> bool:
    """Whether these kernels run for weights of this device and dtype; not under autocast, which has other types than theirs."""
    known = dtype in (torch.float16, torch.bfloat16, torch.float32)
    if dtype == torch.bfloat16 and interpreted():
        known = False  # the interpreter multiplies its bits
    device = torch.device(device_type, index) if index is not None else torch.device(device_type)
    return known and STEP.enabled(device) and not torch.is_autocast_enabled(device_type)


# What torch.compiler.assume_constant_result sets, but that imports the compiler.
runs_fused._dynamo_marked_constant = True  # pyrefly: ignore[missing-attribute]


def load_kernels(file: str) -> Any:
    """A file of kernels, which needs Triton."""
    return import_module(f'.triton.{file}', __package__)


def power_of_2(number: int) -> int:
    """The smallest that is no less."""
    return 1 << max(0, number - 1).bit_length()


def tiles(rows: int) -> dict[str, int]:
    """Block sizes and pipeline for so many columns of a product: rows of x, or twice as many of pairs.

    BM stays below the 64 rows from which an H100's compiler would take another matrix instruction, that sums in another
    order. BK and BR do not change the order: the instruction takes 16 channels at a time, one after the other.
    """
    if rows <= DIRECT_ROWS:
        return dict(BM=16, BR=16, BK=256, STAGES=4, num_warps=4)
    return dict(BM=32, BR=min(power_of_2(rows), 128), BK=64, STAGES=3, num_warps=4)


def on(x: Tensor) -> AbstractContextManager[Any]:
    """Launch on its device."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def row_scales(x_RD: Tensor, eps: float) -> Tensor | None:
    """`1 / sqrt(mean(x^2) + eps)` (R,) in one launch, if rows are too many for each program to compute it."""
    if len(x_RD) <= DIRECT_ROWS:
        return None
    R, D = x_RD.shape
    scales_R = torch.empty(R, dtype=torch.float32, device=x_RD.device)
    load_kernels('products').inverse_rms_kernel[(-(-R // DIRECT_ROWS),)](
        x_RD, scales_R, R, eps, D=D, BR=DIRECT_ROWS, num_warps=4
    )
    return scales_R


def normalized(x_RD: Tensor, norm_D: Tensor | None, eps: float) -> Tensor:
    """As `layers.RMSNorm`; x itself without a weight."""
    if norm_D is None:
        return x_RD
    return F.rms_norm(x_RD.float(), norm_D.shape, eps=eps).type_as(x_RD) * norm_D
