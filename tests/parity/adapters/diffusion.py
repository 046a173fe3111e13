"""DiT and L-DiT: their networks, the loss of its process, and chains with the peer's noise."""

from __future__ import annotations

import re
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor

from fvq_core.interop.key_map import Rules, rename
from fvq_generators import DiT, LargeDiT
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.diffusion.samplers import ddpm_step
from fvq_generators.interop.dit import OUR_ORDER, RULES
from fvq_generators.interop.large_dit import RULES as LARGE_RULES
from fvq_generators.latent_diffusion import LatentDiffusion
from tests.tiny import build_from_peer

from ..case import Case


def dit(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    model = cast(
        DiT,
        build_from_peer(
            'dit',
            case.state,
            heads=options['num_heads'],
            cond_dropout=options['class_dropout_prob'],
            num_classes=options['num_classes'],
            scale=1.0,
        ),
    )
    got = trained(case, model) if 't' in case.inputs else sampled(case, model)
    wanted = [name for name in case.outputs if name.startswith('g:')]
    got.update({name: gradient(model, name.removeprefix('g:'), options['hidden_size']) for name in wanted})
    return {**got, 'pos_embed': model.positions_LD[None]}


def large_dit(case: Case) -> dict[str, Tensor]:
    options, inputs = case.constructor, case.inputs
    model = cast(
        LargeDiT,
        build_from_peer(
            'l-dit',
            case.state,
            heads=options['n_heads'],
            grid=(options['input_size'], options['input_size']),
            cond_dropout=options['class_dropout_prob'],
            num_classes=options['num_classes'],
            scale=1.0,
            learned_variance=options['learn_sigma'],
        ),
    )
    got = trained(case, model)
    for name in case.outputs:
        if name.startswith('g:'):
            got[name] = large_gradient(model, name.removeprefix('g:'), options['dim'])
    labels, sampling = (
        inputs['labels'][: len(inputs['z'])],
        model.Sampling.of(dict(cfg_scale=case.description['cfg_scale'], cfg_channels=3)),
    )
    process = cast(GaussianProcess, model.process).respaced(int(case.description['respacing']))
    with torch.no_grad():
        at_700 = guided_pair(model, inputs['z'], 700, labels, sampling)
        t_B = torch.full((len(labels),), process.times[3])
        output = model.guided(inputs['z'], t_B, labels, sampling)
    step, data = middle_step(process, inputs['z'], output, 3, inputs['step_noise'][: len(labels)])
    return {
        **got,
        'freqs_cis': model.rotations_LP2,
        'cfg_out': at_700,
        'step': step,
        'step_x0': data,
        'timestep_map': torch.tensor(process.times),
    }


def middle_step(
    process: GaussianProcess, x: Tensor, output: Tensor, index: int, noise: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Where a step of a chain leads for an output of the network, and what that takes the data to be."""
    index_B = torch.full((len(x),), index)
    predicted, log_variance = process.split(output, index_B)
    data = process.data_of(x, index_B, predicted)
    return ddpm_step(process, x, data, log_variance, index, noise, temperature), data


def large_gradient(model: LargeDiT, key: str, channels: int) -> Tensor:
    """Of a weight of the peer, whose maps to queries, keys and values are three, and gate and up are two."""
    name, part, parts = key, 0, 1
    if match := re.search(r'attention\.w([qkv])\.', key):
        name, part, parts = key.replace(match[0], 'attention.wqkv.'), 'qkv'.index(match[1]), 3
    elif match := re.search(r'feed_forward\.w([13])\.', key):
        name, part, parts = key.replace(match[0], 'feed_forward.gate_up.'), '13'.index(match[1]), 2
    return gradient(model, name, channels, LARGE_RULES).chunk(parts)[part]


def guided_pair(model: LatentDiffusion, z: Tensor, time: int, labels: Tensor, sampling: Any) -> Tensor:
    """Both halves of the peer's guided batch: they share what is guided, and each keeps its other channels."""
    t_B, C = torch.full((len(labels),), time), sampling.cfg_channels
    guided = model.guided(z, t_B, labels, sampling)
    without = model.network(z, t_B, model.condition.null(labels))
    return torch.cat([guided, torch.cat([guided[:, :C], without[:, C:]], 1)])


def gradient(model: LatentDiffusion, key: str, channels: int, rules: Rules = RULES) -> Tensor:
    """Of a weight of the peer, in its order of an adaptive norm's vectors."""
    (ours,) = rename({key: torch.empty(0)}, rules, key)
    value = cast(Tensor, dict(model.named_parameters())[ours].grad)
    if 'adaLN_modulation' not in key:
        return value
    parts = value.unflatten(0, (-1, channels))
    return parts[torch.tensor(OUR_ORDER[len(parts)]).argsort()].flatten(0, 1)


def trained(case: Case, model: LatentDiffusion) -> dict[str, Tensor]:
    """Loss terms of each image, with the peer's times, noise and dropped labels."""
    inputs, process = case.inputs, cast(GaussianProcess, model.process)
    model.train()
    with patch('torch.rand', lambda *size, **options: inputs['drop_rand'].clone()):
        dropped = model.condition.drop(inputs['labels'])
        terms = process.losses(
            lambda x, t: model.network(x, t, inputs['labels']), inputs['x_start'], inputs['t'], inputs['noise']
        )
    loss = (terms['mse'] + terms['vb']).mean()
    loss.backward()
    with torch.no_grad():
        out = model.eval().network(inputs['x_eval'], inputs['t_eval'], inputs['labels'])
    noisy = process.noisy(inputs['x_start'], inputs['t'], inputs['noise'])
    return {'eval_out': out, 'label_after_drop': dropped, 'x_t': noisy, 'loss': loss, **terms}


def sampled(case: Case, model: LatentDiffusion) -> dict[str, Tensor]:
    """Chains with the peer's noise; of its guided batch the conditional half, for the other is a chain that it drops."""
    inputs, labels = case.inputs, case.inputs['sample_labels']
    model.eval()
    steps, count = int(case.description['respacing']), len(labels)
    process = cast(GaussianProcess, model.process).respaced(steps)
    settings: dict[str, Any] = dict(steps=steps, cfg_scale=case.description['cfg_scale'], cfg_channels=3)

    def chain(noise: Tensor, **changed: Any) -> list[tuple[Tensor, Tensor]]:
        sampling = model.Sampling.of({**settings, **changed})
        return list(model.trajectory(inputs['z'], labels, lambda number: noise[number, :count], sampling))

    guided, plain = chain(inputs['step_noise']), chain(inputs['plain_noise'], cfg_scale=1.0)
    ddim = chain(inputs['step_noise'], solver='ddim')
    with torch.no_grad():
        pair = guided_pair(model, inputs['z'], process.times[-1], labels, model.Sampling.of(settings))
    return {
        'timestep_map': torch.tensor(process.times),
        'betas': process.beta_T,
        'posterior_log_variance_clipped': process.log_variance_T,
        'cfg_out': pair,
        'x_steps': torch.stack([x for x, _ in guided]),
        'x0_steps': torch.stack([data for _, data in guided]),
        'sample': guided[-1][0],
        'sample_nocfg': plain[-1][0],
        'sample_ddim': ddim[-1][0],
    }
