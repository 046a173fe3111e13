"""The release's bridges without a tokenizer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_core.registry import PROJECTORS
from fvq_quantizers.interop import fvq_release as importer

from ..case import Case
from .gradients import peer_gradient

RULES = (*importer.DIT_BRIDGE_RULES, *importer.LINEAR_RULES, *importer.MLP_RULES)


def fvq_release(case: Case) -> dict[str, Tensor]:
    embedding = case.inputs['embedding'].clone().requires_grad_()
    K, D = embedding.shape
    config, state = importer.import_projector(case.state, case.constructor.get('num_heads', 4))
    if 'num_classes' in config:
        config['class_dropout'] = dropout = case.constructor.get('class_dropout_prob', 0.1)
        if not dropout:  # the peer's table then has no row for the null class
            config.update(num_classes=config['num_classes'] + 1, fold_label=0)
    projector = PROJECTORS.build(config, codebook_size=K, code_dim=D).train(case.training)
    projector.load_state_dict(state)
    arguments = (labels(case),) if 'num_classes' in config else ()
    mapped_BKD = projector(embedding, *arguments).reshape(-1, K, D)
    mapped = mapped_BKD[0] if len(mapped_BKD) == 1 else mapped_BKD
    (mapped * case.inputs['grad_mapped']).sum().backward()
    side = math.isqrt(K)
    got = {
        'mapped': mapped,
        'mapped_map': mapped_BKD.transpose(1, 2).reshape(-1, D, side, side),
        'g_embedding': embedding.grad,
    }
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(projector, lambda s: rename(s, RULES, 'FVQ'), key, case.state[key])
    return got


def labels(case: Case) -> Tensor:
    """What the peer was called with; without labels its class-conditional bridge takes class 0."""
    call: Any = case.description.get('call')
    given = {**(call if isinstance(call, dict) else {}), **case.inputs}
    found = next((given[name] for name in ('y', 'label', 'labels') if name in given), 0)
    return torch.as_tensor(found, dtype=torch.int64).reshape(-1)
