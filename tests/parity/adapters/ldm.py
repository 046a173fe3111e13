"""Latent diffusion's model of classes: its loss, gradients, and guided DDIM with the peer's noise."""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.diffusion.noise_schedules import SCHEDULES
from fvq_generators.interop.ldm import ATTENTION, CLASSES, NETWORK
from fvq_generators.interop.openai_unet import UNetShape
from fvq_generators.unet_diffusion import UNetDiffusion
from tests.tiny import build_from_peer

from ..case import Case


def latent_diffusion(case: Case) -> dict[str, Tensor]:
    if find_spec('diffusers') is None:
        pytest.skip(f'{case.name}: needs diffusers (the extra `diffusers`)')
    options, inputs, call = case.constructor, case.inputs, case.description['sampling']
    low, high = (options[f'linear_{end}'] ** 0.5 for end in ('start', 'end'))

    def sqrt_linear(steps: int) -> Tensor:
        return torch.linspace(low, high, steps, dtype=torch.float64, device='cpu') ** 2

    with patch.dict(SCHEDULES, sqrt_linear=sqrt_linear):
        side = options['image_size']
        model = cast(
            UNetDiffusion,
            build_from_peer(
                'ldm',
                case.state,
                grid=(side, side),
                heads=options['num_heads'] if options['num_head_channels'] is None else None,
                head_width=options['num_head_channels'],
            ),
        )
        process = cast(GaussianProcess, model.process)
        strided = process.strided(call['steps'])
    labels = inputs['labels']
    terms = process.losses(lambda x, t: model.network(x, t, labels), inputs['x_start'], inputs['t'], inputs['noise'])
    loss = terms['mse'].mean()
    loss.backward()
    with torch.no_grad():
        eps = model.network(process.noisy(inputs['x_start'], inputs['t'], inputs['noise']), inputs['t'], labels)
        sampling = model.Sampling(
            cfg_scale=call['cfg_scale'], steps=call['steps'], solver='ddim', eta=call['eta'], spacing='strided'
        )
        noise = inputs['step_noise']
        *_, (sample, _) = model.trajectory(
            inputs['z'], labels[: len(inputs['z'])], lambda number: noise[number], sampling
        )
    signal_T, before_T = strided.signal_T, strided.before_T
    got = {
        'loss': loss,
        'eps': eps,
        'sample': sample,
        'ddim_timesteps': torch.tensor(strided.times),
        'ddim_sigmas': call['eta'] * ((1 - before_T) / (1 - signal_T) * (1 - signal_T / before_T)).sqrt(),
    }
    return got | gradients(case, model)


def gradients(case: Case, model: UNetDiffusion) -> dict[str, Tensor]:
    """Of the weights that the case names by the peer's keys."""
    parameters, got = dict(model.named_parameters()), {}
    network = {key.removeprefix(NETWORK): value for key, value in case.state.items() if key.startswith(NETWORK)}
    rules = UNetShape.of(network, case.name).rules(ATTENTION)
    for name, like in case.outputs.items():
        key = name.removeprefix('g:')
        if key == CLASSES:
            got[name] = cast(Tensor, model.condition.table.weight.grad)
        elif key != name:
            (ours,) = rename({key.removeprefix(NETWORK): like}, rules, name)
            got[name] = cast(Tensor, parameters[ours].grad)
    return got
