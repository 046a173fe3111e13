"""RCG: its representation diffusion and its MAGE, their losses and their whole sampling with the peer's noise."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from fvq_core.codes import Codes, Targets
from fvq_core.interop.key_map import rename
from fvq_generators import MAGE, RepresentationDiffusion
from fvq_generators.diffusion.noise_schedules import SCHEDULES
from fvq_generators.interop.rcg import MAGE_RULES, RDM_RULES
from tests.tiny import build_from_peer

from ..case import Case
from .maskgit import StoredDraws, take

EVERY = 16  # positions whose logits are stored
NEVER = 1e-9  # is dropped; the peer can guide all the same


def part(case: Case, name: str) -> dict[str, Tensor]:
    """The state dict of one of the peer's models."""
    return {key.removeprefix(f'{name}/'): value for key, value in case.state.items() if key.startswith(f'{name}/')}


def rcg(case: Case) -> dict[str, Tensor]:
    """Of the models that the case has."""
    got = rdm(case) if case.constructor.get('rdm') else {}
    if not case.constructor.get('mage'):
        return got
    reps = case.inputs['mage_sample_rep'] if 'mage_sample_rep' in case.inputs else got['rep_out']
    return got | mage(case, reps)


def rdm(case: Case) -> dict[str, Tensor]:
    options, inputs, call = case.constructor['rdm'], case.inputs, case.description['sampling']
    low, high = (options[f'linear_{end}'] ** 0.5 for end in ('start', 'end'))

    def sqrt_linear(steps: int) -> Tensor:
        return torch.linspace(low, high, steps, dtype=torch.float64, device='cpu') ** 2

    with patch.dict(SCHEDULES, sqrt_linear=sqrt_linear):
        model = cast(RepresentationDiffusion, build_from_peer('rcg-rdm', part(case, 'rdm'), steps=options['timesteps']))
        process = model.process.strided(call['rdm_steps'])
    seen: list[Tensor] = []

    def predict(noisy: Tensor, t_B: Tensor) -> Tensor:
        seen.append(model.network(noisy, t_B, inputs['rdm_labels']))
        return seen[-1]

    loss = model.process.losses(predict, inputs['rep'], inputs['t'], inputs['noise'])['mse'].mean()
    loss.backward()
    parameters = dict(model.named_parameters())
    got = {'rdm_loss': loss, 'rdm_x0': seen[0]}
    for name, like in case.outputs.items():
        if name.startswith('g:'):
            ours = rename({name[2:]: like}, RDM_RULES, name)
            # The peer's table of an unconditional model gets no gradient, and ours has none.
            found = [parameters[key].grad for key in ours if key in parameters]
            got[name] = cast(Tensor, found[0]) if found else torch.zeros_like(like)
    steps, eta = call['rdm_steps'], call['eta']
    signal_T, before_T = process.signal_T, process.before_T
    labels, noise = inputs['rdm_sample_labels'], inputs['rdm_step_noise']
    with torch.no_grad():
        sampling = model.Sampling(steps=steps, eta=eta)
        drawn = model.eval().draw(inputs['rdm_z'], labels, lambda number: noise[number], sampling)
    count = len(case.outputs['alphas_cumprod'])
    return got | {
        'alphas_cumprod': model.process.signal_T[:: (options['timesteps'] - 1) // (count - 1)][:count],
        'ddim_timesteps': torch.tensor(process.times),
        'ddim_sigmas': eta * ((1 - before_T) / (1 - signal_T) * (1 - signal_T / before_T)).sqrt(),
        'ddim_alphas_prev': before_T,
        'rep_out': drawn,
    }


def mage(case: Case, reps: Tensor) -> dict[str, Tensor]:
    options = case.constructor['mage']
    model = cast(
        MAGE,
        build_from_peer(
            'rcg-mage',
            part(case, 'mage'),
            heads=options['num_heads'],
            decoder_heads=options['decoder_num_heads'],
            cond_dropout=options['rep_drop_prob'] or NEVER,
            least_masked=options['mask_ratio_min'],
            masked_mean=options['mask_ratio_mu'],
            masked_std=options['mask_ratio_std'],
            dropout=0.0,
        ),
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.LayerNorm) and name not in ('norm', 'transform_norm'):  # these have eps of their own
            module.eps = options['norm_eps']
    return taught(case, model.train()) | generated(case, model.eval(), reps)


def taught(case: Case, model: MAGE) -> dict[str, Tensor]:
    inputs, codes = case.inputs, case.inputs['codes']

    def fill(share: Tensor, **options: float) -> Tensor:
        assert options == model.shares
        return share.copy_(inputs['mask_rate'])

    def draws() -> Any:
        left = [inputs['mask_noise'], inputs['drop_rand']]
        return patch('torch.rand', lambda *size, **options: left.pop(0).clone())

    with draws(), patch('torch.nn.init.trunc_normal_', fill):
        loss = model.loss(Targets(Codes(codes, model.layout)), inputs['mage_rep'])['cross_entropy']
    loss.backward()
    with draws(), patch('torch.nn.init.trunc_normal_', fill):
        hidden, dropped = model.draw_hidden(len(codes), codes.device)
        rep = model.condition(inputs['mage_rep'])
    encoded = model.encode(codes, hidden, dropped, rep)
    logits = model.logits(model.decode(encoded, hidden, dropped))
    with_class = torch.zeros(len(codes), 1)
    got = {
        'enc': encoded[:, : case.outputs['enc'].shape[1]],
        'token_mask': torch.cat([with_class, hidden.float()], 1),
        'token_drop': torch.cat([with_class, dropped.float()], 1),
        'logits_head': logits[:, ::EVERY],
        'mage_loss': loss,
    }
    return got | {name: gradient(model, name[2:], like) for name, like in case.outputs.items() if name.startswith('g:')}


def gradient(model: MAGE, key: str, like: Tensor) -> Tensor:
    """Of a weight of the peer, in its form; of a long table its first rows."""
    key = 'codes' if key == 'token_emb.word_embeddings.weight' else key
    (ours,) = rename({key: like}, MAGE_RULES, key)
    value = cast(Tensor, dict(model.named_parameters())[ours].grad)
    if key == 'token_emb.position_embeddings.weight':  # the peer has one of the class too, which it overwrites
        value = torch.cat([torch.zeros_like(value[:1]), value])
    value = value.view(*[1] * (like.dim() - value.dim()), *value.shape)
    return value[tuple(slice(size) for size in like.shape)]


def generated(case: Case, model: MAGE, reps: Tensor) -> dict[str, Tensor]:
    inputs, call = case.inputs, case.description['sampling']
    uniform, noise = inputs['mage_uniform'], inputs['mage_gumbel']

    def choose(step: int, logits_BNV: Tensor, rows_BN: Tensor, temperature: float) -> Tensor:
        cumulative = logits_BNV.double().softmax(-1).cumsum(-1)
        wanted = take(uniform[step], rows_BN).double()[..., None]
        return torch.searchsorted(cumulative, wanted, right=True)[..., 0].clamp(max=cumulative.shape[-1] - 1)

    fed: list[Tensor] = []
    features = MAGE.features

    def noted(self: MAGE, indices_BL: Tensor, rep_B1D: Tensor) -> Tensor:
        fed.append(indices_BL[: len(reps)])
        return features(self, indices_BL, rep_B1D)

    with patch.object(MAGE, 'features', noted):
        codes = model.sample(
            reps,
            steps=call['num_iter'],
            choice_temperature=call['choice_temperature'],
            cfg_scale=1.0 + call['cfg'],
            draws=StoredDraws(choose, noise.double()),
        )
    with torch.no_grad():
        rep_B1D = model.condition(reps)
        first, last = (model.logits(model.features(each, rep_B1D))[:, ::EVERY] for each in (fed[0], fed[-1]))
    return {
        'hidden_before': torch.stack(fed) == model.codes.vocab_size,
        'codes_out': codes.indices_BL,
        'logits_first': first,
        'logits_last': last,
    }
