"""MAR: encoder, decoder, diffusion head, its loss, and the whole sampling loop with the peer's noise."""

from __future__ import annotations

import math
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_generators import MAR
from fvq_generators.diffusion.head import DiffusionHead
from fvq_generators.interop.dit import OUR_ORDER
from fvq_generators.interop.mar import RULES
from fvq_generators.mar import hidden_counts
from fvq_generators.orders import first_of
from tests.tiny import build_from_peer

from ..case import Case
from .diffusion import middle_step


def mar(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    model = cast(
        MAR,
        build_from_peer(
            'mar',
            case.state,
            heads=options['encoder_num_heads'],
            decoder_heads=options['decoder_num_heads'],
            patch_size=options['patch_size'],
            cond_dropout=options['label_drop_prob'],
            head_draws=options['diffusion_batch_mul'],
            scale=1.0,
            dropout=options['proj_dropout'],
        ),
    )
    return trained(case, model.train()) if 'mask_rate' in case.inputs else sampled(case, model.eval())


def trained(case: Case, model: MAR) -> dict[str, Tensor]:
    inputs, labels, draws = case.inputs, case.inputs['labels'], model.head.draws
    tokens = model.patching.split(inputs['latents'])
    hidden = first_of(inputs['orders'], math.ceil(model.patching.length * inputs['mask_rate'].item()))
    with patch('torch.rand', lambda *size, **options: inputs['drop_rand'].clone()):
        class_B1D = model.condition(labels)
    encoded = model.encode(tokens, hidden, class_B1D)
    z = model.decode(encoded, hidden)
    x, features = (each.flatten(0, 1).repeat(draws, 1) for each in (tokens, z))
    # The peer's loss is of all tokens, and then of the hidden ones; ours draws nothing for the others.
    terms = model.head.process.losses(lambda noisy, t: model.head(noisy, t, features), x, inputs['t'], inputs['noise'])
    rows = terms['mse'] + terms['vb']
    chosen = hidden.flatten().repeat(draws)
    loss = rows[chosen].mean()
    loss.backward()
    with (
        patch('torch.randint', lambda *a, **k: inputs['t'][chosen]),
        patch('torch.randn_like', lambda x: inputs['noise'][chosen]),
    ):
        own = model.head.losses(tokens[hidden], z[hidden].detach())
    torch.testing.assert_close(own['mse'] + own['vb'], loss)
    got = {'mask': hidden.float(), 'label_embedding': class_B1D[:, 0], 'enc': encoded, 'z': z, 'loss_rows': rows}
    got |= {
        'loss': loss,
        **{name: gradient(model, name.removeprefix('g:')) for name in case.outputs if name[:2] == 'g:'},
    }
    with torch.no_grad():
        eval_z = model.eval().features(tokens, hidden, labels)
        count = len(case.outputs['net_out'])
        net_out = model.head(inputs['noise'][:count], inputs['t'][:count], eval_z.flatten(0, 1)[:count])
    return {**got, 'eval_z': eval_z, 'net_out': net_out}


def gradient(model: MAR, key: str) -> Tensor:
    """Of a weight of the peer, in its form."""
    parameters = dict(model.named_parameters())
    if key in ('class_emb.weight', 'fake_latent'):
        table = cast(Tensor, parameters['condition.table.weight'].grad)
        return table[-1:] if key == 'fake_latent' else table[:-1]
    (ours,) = rename({key: torch.empty(0)}, RULES, key)
    value = cast(Tensor, parameters[ours].grad)
    if key == 'mask_token' or key.endswith('pos_embed_learned'):
        return value.view(1, 1, -1) if key == 'mask_token' else value[None]
    if 'adaLN_modulation' not in key:
        return value
    count = 2 if 'final_layer' in key else 3
    return value.unflatten(0, (count, -1))[torch.tensor(OUR_ORDER[count]).argsort()].flatten(0, 1)


def sampled(case: Case, model: MAR) -> dict[str, Tensor]:
    inputs, call = case.inputs, case.description['sampling']
    steps = int(case.constructor['num_sampling_steps'])
    labels, orders = inputs['sample_labels'], inputs['sample_orders']
    settings: dict[str, Any] = dict(
        steps=call['num_iter'],
        cfg_scale=call['cfg'],
        cfg_schedule=call['cfg_schedule'],
        temperature=call['temperature'],
        diffusion_steps=steps,
    )
    images = torch.arange(len(labels))[:, None]
    seen: dict[str, list[Any]] = dict(z=[], tokens=[], cfg=[])

    def draw(**changed: Any) -> Tensor:
        sampling = model.Sampling.of({**settings, **changed})
        with torch.no_grad():
            return model.patching.join(
                model.draw(labels, orders, lambda at: inputs['token_noise'][images, at], sampling)
            )

    features, head = MAR.features, DiffusionHead.sample

    def note_features(self: MAR, tokens: Tensor, hidden: Tensor, both: Tensor) -> Tensor:
        seen['tokens'].append(tokens[: len(labels)].clone())
        found = features(self, tokens, hidden, both)
        seen['z'].append(found[: len(labels)])
        return found

    def note_scale(self: DiffusionHead, *arguments: Any) -> Tensor:
        seen['cfg'].append(arguments[5])
        return head(self, *arguments)

    with patch.object(MAR, 'features', note_features), patch.object(DiffusionHead, 'sample', note_scale):
        out = draw()
    tokens_iters = torch.stack([*seen['tokens'][1:], model.patching.split(out)])
    got = {
        'timestep_map': torch.tensor(model.head.process.respaced(steps).times),
        'betas': model.head.process.respaced(steps).beta_T,
        'latents_out': out,
        'z_iters': torch.stack(seen['z']),
        'tokens_iters': tokens_iters,
        'cfg_iters': torch.tensor(seen['cfg']),
        'mask_lens': torch.tensor([after for _, after in hidden_counts(model.patching.length, call['num_iter'])]),
        'latents_nocfg': draw(cfg_scale=1.0),
    }
    return {**got, **middle_steps(case, model, steps)}


def middle_steps(case: Case, model: MAR, steps: int) -> dict[str, Tensor]:
    """One step of the head's chain, with guidance and without."""
    inputs, call = case.inputs, case.description['sampling']
    x, index = inputs['step_x'], int(inputs['step_t'])
    process = model.head.process.respaced(steps)
    t_N = torch.full((len(x),), process.times[index])
    with_class, without = inputs['step_c'].chunk(2)
    with torch.no_grad():
        plain, other = model.head(x, t_N, with_class), model.head(x, t_N, without)
    C = x.shape[1]
    guided = torch.cat([other[:, :C] + call['cfg'] * (plain[:, :C] - other[:, :C]), plain[:, C:]], 1)
    noise, temperature = inputs['step_noise'], call['temperature']
    return {
        'step_mid': middle_step(process, x, guided, index, noise, temperature)[0],
        'step_mid_nocfg': middle_step(process, x, plain, index, noise, temperature)[0],
    }
