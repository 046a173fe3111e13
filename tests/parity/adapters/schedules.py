"""The released learning-rate schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.training.schedules.warmup_hold_decay import lr_multiplier

from ..case import Case

DECAYS = {'lin': 'linear', 'cos': 'cosine', 'const': 'none'}


def fvq_release(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    steps = case.outputs['steps']
    total = options['steps_per_epoch'] * options['epochs']
    warmup = options['warmup_ep'] * options['steps_per_epoch']
    got = {'steps': torch.arange(total)}
    for name in options['sche_type']:
        shape = dict(warmup=warmup, hold=options['lrT'], decay=DECAYS[name])
        factors = [lr_multiplier(step, total, **shape) for step in steps.tolist()]
        got[f'mult_{name}'] = torch.tensor(factors, dtype=torch.float64)
    return got
