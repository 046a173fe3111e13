"""The released schedules of learning rates and weight decay."""

from __future__ import annotations

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from fvq_core.training.schedules.build_schedulers import build_schedulers
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


def ibq_release(case: Case) -> dict[str, Tensor]:
    """Learning rate and weight decay of an optimizer along a run, from the schedulers that the configs name."""
    got = {}
    for name, call in case.description['calls'].items():
        total, warmup = call['epochs'] * call['iters_per_epoch'], call['wp'] * call['iters_per_epoch']
        optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], call['peak_lr'], weight_decay=call['wd'])
        rate = dict(
            type='WarmupHoldDecayLR', warmup=warmup, warmup_factor=call['wp0'], hold=0.05, end_factor=call['wpe']
        )
        decay = dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', by_epoch=False)
        config = [rate, {**decay, 'eta_min': call['twde'] or call['wd']}]
        schedulers = build_schedulers(config, {'generator': OptimWrapper(optimizer)}, total, call['iters_per_epoch'])
        rates, decays = [], []
        for _ in range(total):
            rates.append(optimizer.param_groups[0]['lr'])
            decays.append(optimizer.param_groups[0]['weight_decay'])
            for scheduler in schedulers['generator']:
                scheduler.step()
        steps = case.inputs[f'steps_{name}']
        got[f'lr_{name}'] = torch.tensor(rates, dtype=torch.float64)[steps]
        got[f'wd_{name}'] = torch.tensor(decays, dtype=torch.float64)[steps]
    return got
