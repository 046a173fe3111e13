"""Discriminators, GAN losses and the whole loss of LlamaGen's tokenizer, which FVQ's release shares."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.interop.key_map import Rules, rename
from fvq_core.losses import HingeGANLoss, NonSaturatingGANLoss, VanillaGANLoss
from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.losses.adversarial.adaptive_weight import adaptive_weight
from fvq_core.losses.discriminators.stylegan import Blur, DiscriminatorBlock
from fvq_core.registry import DISCRIMINATORS, LOSSES

from ...discriminator_rules import BLOCK_RULES, NOT_WEIGHTS, PATCHGAN_RULES, STYLEGAN_RULES
from ..case import Case
from .gradients import peer_gradient
from .perceptual import lpips_from_peer

LOSS_CONFIGS = {
    'hinge': dict(type='HingeGANLoss'),
    'vanilla': dict(type='VanillaGANLoss'),
    'non-saturating': dict(type='NonSaturatingGANLoss', swapped=True),
}
PIXEL_LOSSES = dict(l1='L1Loss', l2='L2Loss')
FIRST_KEYS = dict(PatchGAN='main.0.weight', StyleGANDiscriminator='blocks.0.weight')  # the peer's


def patchgan_config(options: dict[str, Any]) -> dict[str, Any]:
    return dict(
        type='PatchGAN',
        in_channels=options.get('input_nc', 3),
        ch=options.get('ndf', 64),
        layers=options.get('n_layers', 3),
        norm='act' if options.get('use_actnorm', False) else 'batch',
    )


def stylegan_config(options: dict[str, Any]) -> dict[str, Any]:
    """`ndf` and `n_layers` are taken by the peer and not used."""
    return dict(
        type='StyleGANDiscriminator',
        image_size=options.get('image_size', 256),
        in_channels=options.get('input_nc', 3),
        channel_multiplier=options.get('channel_multiplier', 1),
    )


def load(module: nn.Module, state: dict[str, Tensor], rules: Rules) -> None:
    module.load_state_dict(rename(state, rules, 'LlamaGen', NOT_WEIGHTS))


def gradient(module: nn.Module, rules: Rules, key: str, state: dict[str, Tensor]) -> Tensor:
    return peer_gradient(module, lambda one: rename(one, rules, 'LlamaGen'), key, state[key])


def discriminator(case: Case, config: dict[str, Any], rules: Rules) -> dict[str, Tensor]:
    """Logits, their gradients, and the state that a training forward leaves."""
    network = DISCRIMINATORS.build(config).train(case.training)
    load(network, case.state, rules)
    image = case.inputs['image'].clone().requires_grad_()
    logits = network(image)
    scalar = (logits * case.inputs.get('grad_logits', torch.ones_like(logits))).sum()
    scalar.backward()
    got = {'logits': logits, 'scalar': scalar, 'g_image': image.grad}
    first = FIRST_KEYS[config['type']]
    state = network.state_dict()
    for name in case.outputs:
        if name == 'g_first' or name.startswith('g:'):
            got[name] = gradient(network, rules, first if name == 'g_first' else name[2:], case.state)
        elif name.startswith('after:'):
            key = name.removeprefix('after:')
            (ours,) = rename({key: case.state[key]}, rules, 'LlamaGen')
            got[name] = state[ours]
    return got


def patchgan(case: Case) -> dict[str, Tensor]:
    return discriminator(case, patchgan_config(case.constructor), PATCHGAN_RULES)


def stylegan(case: Case) -> dict[str, Tensor]:
    return discriminator(case, stylegan_config(case.constructor), STYLEGAN_RULES)


def stylegan_block(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    block = DiscriminatorBlock(options['input_channels'], options['filters'], options.get('downsample', True))
    load(block, case.state, BLOCK_RULES)
    x = case.inputs['x'].clone().requires_grad_()
    out = block(x)
    scalar = (out * case.inputs.get('grad_out', torch.ones_like(out))).sum()
    scalar.backward()
    got = {'out': out, 'blurred': Blur()(x), 'scalar': scalar, 'g_x': x.grad}
    for name in case.outputs:
        if name.startswith('g:'):
            got[name] = gradient(block, BLOCK_RULES, name[2:], case.state)
    return got


def gan_losses(case: Case) -> dict[str, Tensor]:
    losses = dict(hinge=HingeGANLoss(), vanilla=VanillaGANLoss(), non_saturating=NonSaturatingGANLoss(swapped=True))
    got = {}
    for name in case.outputs:
        if name == 'adopt_weight':
            got[name] = adopted_weights(case.description['outputs'][name]['meaning'])
        elif ':' not in name:
            kind, side = name.rsplit('_', 1)
            logits = {key: case.inputs[f'logits_{key}'].clone().requires_grad_() for key in ('real', 'fake')}
            if side == 'd':
                got[name] = losses[kind].discriminator(logits['real'], logits['fake'])
            else:
                got[name] = losses[kind].generator(logits['fake'])
            got[name].backward()
            got |= {f'g_{key}:{name}': value.grad for key, value in logits.items()}
    return got


def adopted_weights(meaning: str) -> Tensor:
    """From `adopt_weight(WEIGHT, step, threshold=START) for step A, B, ...`: the weight, 0 before its start."""
    weight, start, *steps = re.findall(r'\d+(?:\.\d+)?', meaning)
    adversarial = AdversarialLoss(discriminator=dict(type='PatchGAN', ch=1), weight=float(weight), start=int(start))
    return torch.tensor([adversarial.weight * adversarial.active(int(step)) for step in steps])


def vq_loss(case: Case) -> dict[str, Tensor]:
    """Both halves of a training step on one batch, as `TokenizerTask` composes them."""
    options = case.constructor
    sizes = dict(
        input_nc=options.get('disc_in_channels', 3),
        ndf=options.get('disc_dim', 64),
        n_layers=options.get('disc_num_layers', 3),
        image_size=options.get('image_size', 256),
    )
    stylegan = options.get('disc_type', 'patchgan') == 'stylegan'
    config, rules = (stylegan_config(sizes), STYLEGAN_RULES) if stylegan else (patchgan_config(sizes), PATCHGAN_RULES)
    weight = options.get('disc_weight', 1.0)
    adversarial: AdversarialLoss = LOSSES.build(
        dict(
            type='AdversarialLoss',
            discriminator=config,
            loss=LOSS_CONFIGS[options.get('disc_loss', 'hinge')],
            generator_loss=LOSS_CONFIGS[options.get('gen_adv_loss', 'hinge')],
            weight=weight,
            discriminator_weight=weight,
            start=options['disc_start'],
            adaptive=options.get('disc_adaptive_weight', False),
        )
    ).train(case.training)
    prefix = 'discriminator.'
    own = {key.removeprefix(prefix): value for key, value in case.state.items() if key.startswith(prefix)}
    load(adversarial.discriminator, own, rules)

    image, last_layer = case.inputs['image'], nn.Parameter(case.inputs['last_layer'].clone())
    recon = F.conv2d(case.inputs['feat'], last_layer, padding=1)
    pixel_loss = LOSSES.build(dict(type=PIXEL_LOSSES[options.get('reconstruction_loss', 'l2')]))
    rec_loss, p_loss = pixel_loss(recon, image), torch.zeros(())
    if any(key.startswith('perceptual_loss.') for key in case.state):  # else the case was made without
        perceptual_loss = LOSSES.build(dict(type='PerceptualLoss', random=True))
        perceptual_loss.network.load_state_dict(lpips_from_peer(case.state, 'perceptual_loss.').state_dict())
        p_loss = perceptual_loss(recon, image)
    terms = options.get('reconstruction_weight', 1.0) * rec_loss + options.get('perceptual_weight', 1.0) * p_loss

    loss_gen, loss_disc = terms + case.inputs['codebook_loss'][:3].sum(), torch.zeros(())
    active = adversarial.active(options['global_step'])
    got = {}
    if 'adaptive_weight' in case.outputs:  # the peer's function, before `disc_weight` multiplies it
        got['adaptive_weight'] = adaptive_weight(terms, adversarial.generator(recon), last_layer)
    if active:
        generator_loss = adversarial.generator(recon)
        loss_gen = loss_gen + adversarial.generator_weight(terms, generator_loss, last_layer) * generator_loss
    loss_gen.backward()
    if active:
        loss_disc = torch.stack(list(adversarial(image, recon).values())).sum()
        loss_disc.backward()

    got |= {'recon': recon, 'loss_gen': loss_gen, 'loss_disc': loss_disc, 'rec_loss': rec_loss, 'p_loss': p_loss}
    got['g_last_layer'] = last_layer.grad
    for name in case.outputs:
        if name == 'g_disc_first' or name.startswith(f'g:{prefix}'):
            key = FIRST_KEYS[config['type']] if name == 'g_disc_first' else name.removeprefix(f'g:{prefix}')
            # The peer runs its discriminator from step 0 on and multiplies its loss by 0.
            got[name] = gradient(adversarial.discriminator, rules, key, own) if active else torch.zeros_like(own[key])
    return got
