"""LlamaGen's filter of logits."""

from __future__ import annotations

from torch import Tensor

from fvq_generators.sampling import filter_logits

from ..case import Case


def llamagen(case: Case) -> dict[str, Tensor]:
    combinations = case.constructor['combos_(top_k,top_p)']
    return {
        f'filtered_{number}': filter_logits(case.inputs['logits'], top_k, top_p)
        for number, (top_k, top_p) in enumerate(combinations)
    }
