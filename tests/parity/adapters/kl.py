"""KL autoencoders of latent diffusion, MAR and diffusers, imported as `tools/convert.py` does, and their loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.autoencoders import KLAutoencoder
from fvq_core.interop.key_map import rename
from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.ops.diagonal_gaussian import DiagonalGaussian
from fvq_core.registry import IMPORTERS, LOSSES, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_quantizers.interop.kl import rename_diffusers
from fvq_quantizers.interop.taming_autoencoder import autoencoder_rules

from ...discriminator_rules import PATCHGAN_RULES
from ..case import Case
from .adversarial import LOSS_CONFIGS, gradient, load, patchgan_config
from .gradients import peer_gradient
from .perceptual import lpips_from_peer
from .vqgan_family import weight_in_call

Rename = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


def latent_diffusion(case: Case) -> dict[str, Tensor]:
    return whole(case, 'ldm-kl', lambda state: state)


def mar(case: Case) -> dict[str, Tensor]:
    return whole(case, 'mar-kl', lambda state: state)


def diffusers(case: Case) -> dict[str, Tensor]:
    options = {'norm_groups': case.constructor.get('norm_num_groups', 32)}
    options |= {'latent_scale': case.constructor.get('scaling_factor', 0.18215)}
    options |= {'latent_shift': case.constructor.get('shift_factor')}
    levels = len(case.constructor['block_out_channels'])
    return whole(case, 'diffusers-kl', lambda state: rename_diffusers(state, levels), **options)


def whole(case: Case, peer: str, to_latent_diffusion: Rename, **options: Any) -> dict[str, Tensor]:
    config, state = IMPORTERS.resolve(peer).read(case.state, **options)
    autoencoder: KLAutoencoder = TOKENIZERS.build(config)
    load_weights(autoencoder, state, case.name)
    autoencoder.train(case.training)
    images = case.inputs['image']
    posterior = autoencoder.posterior(images)
    z = posterior.sample(case.inputs['eps'])
    dec = autoencoder.decode_latent(z)
    kl = posterior.kl()
    scalar = (dec * case.inputs['grad_dec']).sum() + weight_in_call(case, r'sum\([\w.]*kl') * kl.mean()
    scalar.backward()
    got = {
        'mean': posterior.mean,
        'logvar': posterior.log_variance,
        'z': z,
        'kl': kl,
        'nll': posterior.nll(z),
        'dec': dec,
        'dec_mode': autoencoder.decode_latent(posterior.mode())[:1],
        'scalar': scalar,
    }
    rules = autoencoder_rules(len(config['encoder']['ch_mult']) - 1)
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(
                autoencoder, lambda one: rename(to_latent_diffusion(one), rules, case.name), key, case.state[key]
            )
    return got


def loss(case: Case) -> dict[str, Tensor]:
    """Both halves of a training step, as `TokenizerTask` composes them. The peer does not use its `pixelloss_weight`."""
    options = case.constructor
    if options.get('disc_conditional'):
        raise NotImplementedError(f'{case.name}: disc_conditional is not an option of ours')
    sizes = dict(input_nc=options.get('disc_in_channels', 3), n_layers=options.get('disc_num_layers', 3))
    factor, weight = options.get('disc_factor', 1.0), options.get('disc_weight', 1.0)
    adversarial: AdversarialLoss = LOSSES.build(
        dict(
            type='AdversarialLoss',
            discriminator=patchgan_config(sizes | dict(use_actnorm=options.get('use_actnorm', False))),
            loss=LOSS_CONFIGS[options.get('disc_loss', 'hinge')],
            generator_loss=LOSS_CONFIGS['hinge'],
            weight=weight,
            discriminator_weight=factor,
            start=options['disc_start'],
            adaptive=True,
        )
    ).train(case.training)
    prefix = 'discriminator.'
    own = {key.removeprefix(prefix): value for key, value in case.state.items() if key.startswith(prefix)}
    load(adversarial.discriminator, own, PATCHGAN_RULES)
    nll = LOSSES.build(dict(type='NLLLoss', log_variance=case.state['logvar'].item()))
    nll.log_variance.requires_grad_()

    image, last_layer = case.inputs['image'], nn.Parameter(case.inputs['last_layer'].clone())
    recon = F.conv2d(case.inputs['feat'], last_layer, padding=1)
    terms = {'reconstruction': LOSSES.build(dict(type='L1Loss'))(recon, image)}
    if options.get('perceptual_weight', 1.0) > 0:
        perceptual = LOSSES.build(
            dict(type='PerceptualLoss', weight=options.get('perceptual_weight', 1.0), random=True)
        )
        perceptual.network.load_state_dict(lpips_from_peer(case.state, 'perceptual_loss.').state_dict())
        terms['perceptual'] = perceptual(recon, image)
    nll_loss = sum(nll(terms, image).values())
    moments = case.inputs['moments'].clone().requires_grad_()
    kl_loss = DiagonalGaussian.from_moments(moments).kl().mean()

    generator_loss = adversarial.generator(recon)
    d_weight = (
        adversarial.generator_weight(nll_loss, generator_loss, last_layer) if factor > 0 else 0 * kl_loss.detach()
    )
    step = re.search(r'at step (\d+)', case.description['outputs']['loss_gen']['meaning'])
    assert step is not None, 'the case does not say which step it is of'
    active = adversarial.active(int(step[1]))
    loss_gen = nll_loss + options.get('kl_weight', 1.0) * kl_loss + active * factor * d_weight * generator_loss
    loss_gen.backward()
    loss_disc = active * sum(adversarial(image, recon).values())
    loss_disc.backward()
    got = {
        'recon': recon,
        'loss_gen': loss_gen,
        'kl_loss': kl_loss,
        'nll_loss': nll_loss,
        'rec_loss': sum(terms.values()),
        'd_weight': d_weight,
        'g_loss': generator_loss,
        'g_last_layer': last_layer.grad,
        'g_moments': moments.grad,
        'g_logvar': nll.log_variance.grad,
        'loss_disc': loss_disc,
    }
    for name in case.outputs:
        if name.startswith(f'g:{prefix}'):
            got[name] = gradient(adversarial.discriminator, PATCHGAN_RULES, name.removeprefix(f'g:{prefix}'), own)
    return got
