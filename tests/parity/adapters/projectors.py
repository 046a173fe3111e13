"""The release's bridges alone."""

from __future__ import annotations

import math

from torch import Tensor

from fvq_core.interop import fvq_release as importer
from fvq_core.interop.key_map import rename
from fvq_core.registry import PROJECTORS

from ..case import Case
from .gradients import peer_gradient

RULES = (*importer.VIT_BRIDGE_RULES, *importer.LINEAR_RULES, *importer.MLP_RULES)


def fvq_release(case: Case) -> dict[str, Tensor]:
    embedding = case.inputs['embedding'].clone().requires_grad_()
    K, D = embedding.shape
    config, state = importer.import_projector(case.state, case.constructor.get('num_heads', 4))
    projector = PROJECTORS.build(config, codebook_size=K, code_dim=D).eval()
    projector.load_state_dict(state)
    mapped = projector(embedding)
    (mapped * case.inputs['grad_mapped']).sum().backward()
    side = math.isqrt(K)
    got = {
        'mapped': mapped,
        'mapped_map': mapped.t().reshape(1, D, side, side),
        'g_embedding': embedding.grad,
    }
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(projector, lambda s: rename(s, RULES, 'FVQ'), key, case.state[key])
    return got
