"""Float32 that is float32: no autocast, no TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Float32 means float32 inside: autocast off, and no TF32 or bfloat16 inside matrix products."""
    mkldnn: Any = torch.backends.mkldnn  # a module whose class torch swaps at import; only then has it `matmul`
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = 'ieee'
    try:
        with no_autocast(device_type):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast off inside; left out of an exported graph, which would carry it as an operator that other libraries lack."""
    known = torch.amp.is_autocast_available(device_type)  # not so for the meta device
    return torch.autocast(device_type, enabled=False) if known and not torch.compiler.is_exporting() else nullcontext()
