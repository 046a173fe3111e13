"""The one place that searches a codebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

# Scores held at once. 2^23 floats are 32 MiB: enough for full matmul speed on a CPU; a GPU wants larger tiles.
MAX_SCORES = {'cpu': 2**23, 'cuda': 2**27}


@torch.no_grad()
def nearest_code(
    z_ND: Tensor, codebook_KD: Tensor, distance: Literal['l2', 'dot'] = 'l2', max_scores: int | None = None
) -> Tensor:
    """The index of the best code for each vector: smallest Euclidean distance, or largest dot product.

    Exact in float32 whatever autocast or TF32 say, ties go to the lowest index, and at most `max_scores` of the N x K
    scores exist at once, so K = 262,144 costs no more memory than K = 1,024. For l2 the per-row constant |z|^2 is
    dropped before comparing: with codes of size 1/K it would swallow the differences between codes.

    Args:
        z_ND: Vectors (N, D), any floating dtype.
        codebook_KD: Codes (K, D).
        distance: Which code is best.
        max_scores: Scores held at once; by default `MAX_SCORES` of the device.

    Returns:
        int64 indices (N,); no gradient.
    """
    if max_scores is None:
        max_scores = MAX_SCORES.get(z_ND.device.type, MAX_SCORES['cpu'])
    rows = max(1, max_scores // codebook_KD.shape[0])
    with full_precision(z_ND.device.type):
        z_ND, codebook_KD = z_ND.float(), codebook_KD.float()
        codes_DK = codebook_KD.t()
        bias_K = None if distance == 'dot' else codebook_KD.square().sum(1).mul_(-0.5)
        # One buffer for all chunks: fresh ones fragment a CPU's heap until it holds far more than one of them.
        scores = z_ND.new_empty(min(rows, len(z_ND)), len(codebook_KD))
        best_N, indices_N = z_ND.new_empty(len(z_ND)), z_ND.new_empty(len(z_ND), dtype=torch.int64)
        for z, best, indices in zip(z_ND.split(rows), best_N.split(rows), indices_N.split(rows), strict=True):
            part = scores[: len(z)]
            if bias_K is None:
                torch.mm(z, codes_DK, out=part)
            else:
                torch.addmm(bias_K, z, codes_DK, out=part)
            torch.max(part, 1, out=(best, indices))  # on a CPU half the time of argmax
    return indices_N


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Float32 means float32 inside: autocast off, and no TF32 or bfloat16 inside matrix products."""
    mkldnn: Any = torch.backends.mkldnn  # a module whose class torch swaps at import; only then has it `matmul`
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = 'ieee'
    try:
        known = torch.amp.is_autocast_available(device_type)  # not so for the meta device
        with torch.autocast(device_type, enabled=False) if known else nullcontext():
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
