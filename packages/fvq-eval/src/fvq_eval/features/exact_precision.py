"""Float32 that is float32, in convolutions too, by kernels that do not depend on what was fastest last time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fvq_core.ops.nearest_code import full_precision


@contextmanager
def exact_precision(device_type: str) -> Iterator[None]:
    """`full_precision` for convolutions as well: TF32 and bfloat16 off, and cuDNN's search for the fastest kernel off.

    cuDNN uses TF32 in convolutions by default, and its search may choose another kernel in another run.
    """
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn  # a module whose class torch swaps at import; only then has it `conv`
    settings = [
        (cudnn, 'benchmark', False),
        (cudnn, 'deterministic', True),
        (cudnn.conv, 'fp32_precision', 'ieee'),
        (mkldnn.conv, 'fp32_precision', 'ieee'),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    for owner, name, value in settings:
        setattr(owner, name, value)
    try:
        with full_precision(device_type):
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
