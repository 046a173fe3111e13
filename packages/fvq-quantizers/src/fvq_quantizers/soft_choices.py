"""Soft choices among codes for training, kept out of compiled graphs.

The backward passes differentiate a distance's logits, which torch's compiler cannot trace. Disabling it imports the
compiler, which takes seconds: import this module only inside the functions that use it, so that tokenizers load quickly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.ops.ranks import mean_over_ranks

from . import chunked_softmax

soft_gradient = torch.compiler.disable(chunked_softmax.soft_gradient)
soft_choice = torch.compiler.disable(chunked_softmax.soft_choice)


def entropies(
    z_ND: Tensor, codebook_KD: Tensor, distance: Any, temperature: float, eps: float, clamp: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows' soft choices, and entropy of their mean over the rows of every rank; scalars.

    Args:
        clamp: log(max(p, eps)) in both; otherwise log p for the rows and log(p + eps) for the mean. (MaskGIT, LlamaGen
            and IBQ add eps to all of a row's logits, which changes nothing.)
    """
    sample_entropy, mean_K = soft_choice(z_ND, codebook_KD, distance, temperature, eps if clamp else 0.0)
    mean_K = mean_over_ranks(mean_K)
    log_K = mean_K.clamp(min=eps).log() if clamp else (mean_K + eps).log()
    return sample_entropy, -(mean_K * log_K).sum()
