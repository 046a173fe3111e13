"""TiTok and TA-TiTok, imported as `tools/convert.py` does, and the losses of both stages."""

from __future__ import annotations

import re
from contextlib import ExitStack, nullcontext
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoders import KLAutoencoder
from fvq_core.interop.key_map import Rules, rename
from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.ops.diagonal_gaussian import DiagonalGaussian
from fvq_core.registry import LOSSES, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop import titok
from fvq_quantizers.interop.maskgit_vq import rules as maskgit_rules

from ..case import Case
from .adversarial import PIXEL_LOSSES, gradient, load
from .maskgit_vq import to_unit

DISCRIMINATOR_RULES: Rules = (
    (r'block_in\.0\.(.*)', r'conv_in.\1'),
    (r'blocks\.(\d+)\.(.*)', r'stages.\1.\2'),
    (r'to_logits\.0\.(.*)', r'conv_mid.\1'),
    (r'to_logits\.2\.(.*)', r'conv_out.\1'),
)


def model(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    with TemporaryDirectory() as folder:
        proxy = None
        if titok.LOGITS in case.state and titok.PIXEL_CODEBOOK not in case.state:
            proxy = folder
            random_proxy(len(case.state[titok.LOGITS]), options.get('vit_dec_patch_size', 16)).save_pretrained(folder)
        config, state = titok.import_tokenizer(case.state, options.get('use_l2_norm'), proxy=proxy)
    config['encoder']['legacy'] = options.get('is_legacy', True)
    clustering = options.get('clustering_vq', False)
    if 'quantizer' in config:
        config['quantizer']['loss'] = dict(type='VQLoss', beta=options.get('commitment_cost', 0.25))
        if clustering and case.training:
            config['quantizer']['update'] = dict(type='CVQUpdate', anchor='closest', raw_anchors=True)
            state['quantizer.update.usage_K'] = case.state['quantize.embed_prob']
    built: Any = TOKENIZERS.build(config)
    load_weights(built, state, case.name)
    built.train(case.training)
    with ExitStack() as stack:
        text = case.inputs.get('text')
        stack.enter_context(nullcontext() if text is None else built.decoder.guided_by(text))
        got = latents(case, built) if isinstance(built, KLAutoencoder) else codes(case, built)
    if case.training:
        got |= gradients(case, built)
    return got


def random_proxy(codebook_size: int, patch_size: int) -> Tokenizer:
    """A tiny tokenizer of MaskGIT's kind, as a file of stage 1 needs one to become a whole model."""
    half = dict(ch=8, ch_mult=[1] * patch_size.bit_length(), num_res_blocks=1, z_channels=8, norm_groups=4)
    return TOKENIZERS.build(
        dict(
            type='Tokenizer',
            encoder=dict(type='MaskGITEncoder', **half),
            quantizer=dict(type='VectorQuantizer', codebook_size=codebook_size, code_dim=8),
            decoder=dict(type='MaskGITDecoder', **half),
            quant_kernel=0,
        )
    )


def codes(case: Case, tokenizer: Tokenizer) -> dict[str, Tensor]:
    z = tokenizer.encode_latent(case.inputs['image'] * 2 - 1)
    frozen = case.constructor.get('finetune_decoder', False)  # stage 2 of the peer has no loss of the quantizer
    tokenizer.quantizer.train(case.training and not frozen)
    out = tokenizer.quantizer(z.detach() if frozen else z)
    got = {'z': z.unsqueeze(2), 'indices': out.codes.indices_BL.unsqueeze(1), 'z_q': out.z_q_BDHW.unsqueeze(2)}
    losses = dict(out.losses)
    head: Any = tokenizer.decoder.head
    terms = [*losses.values()]
    got |= {f'{name}_loss': value for name, value in losses.items()}
    if frozen and case.training:
        got |= dict.fromkeys(('quantizer_loss', 'commitment_loss', 'codebook_loss'), torch.zeros(()))
    elif terms:
        got['quantizer_loss'] = torch.stack(terms).sum()
    if titok.LOGITS in case.state:
        got['logits'] = head.to_logits(cast(Any, tokenizer.decoder).features(out.z_q_BDHW))
    if 'proxy_codes' in case.inputs:
        got['reconstruction_loss'] = F.cross_entropy(got['logits'].flatten(2), case.inputs['proxy_codes'])
        weight = case.constructor.get('losses', {}).get('quantizer_weight', 1.0)
        got['total'] = got['reconstruction_loss'] + weight * got['quantizer_loss']
        got['total'].backward()
        return got
    if titok.LOGITS not in case.state or titok.PIXEL_CODEBOOK in case.state:
        got['dec'] = to_unit(tokenizer.decode_latent(out.z_q_BDHW))
        batch = len(case.outputs['dec_from_code']) if 'dec_from_code' in case.outputs else None
        if case.inputs.get('text') is not None:
            got['dec_from_code'] = to_unit(tokenizer.decode(out.codes))[:batch]
        else:
            got['dec_from_code'] = to_unit(tokenizer.decode(out.codes[:batch]))
    if 'grad_dec' in case.inputs:
        scalar = (got['dec'] * case.inputs['grad_dec']).sum()
        got['scalar'] = scalar + got['quantizer_loss'] if terms else scalar
        got['scalar'].backward()
    return got


def latents(case: Case, autoencoder: KLAutoencoder) -> dict[str, Tensor]:
    posterior = autoencoder.posterior(case.inputs['image'] * 2 - 1)
    mean, log_variance = posterior.mean, posterior.log_variance
    noise = case.inputs['eps'].squeeze(2) if 'eps' in case.inputs else None
    z = mean if noise is None else posterior.sample(noise)
    B, _, L = mean.shape
    dec = to_unit(autoencoder.decode_latent(z))
    got = {
        'mean': mean.unsqueeze(2),
        'logvar': log_variance.unsqueeze(2),
        'z': z.unsqueeze(2),
        'kl': DiagonalGaussian(mean.mT.flatten(0, 1), log_variance.mT.flatten(0, 1)).kl().view(B, L),
        'dec': dec,
        'dec_mode': to_unit(autoencoder.decode_latent(posterior.mode()))[: len(case.outputs.get('dec_mode', dec))],
    }
    if 'grad_dec' in case.inputs:
        meaning = case.description['inputs']['grad_dec']['meaning']
        weight = re.search(r'([\d.e-]+) \* sum\(kl\) / B', meaning)
        assert weight is not None, f'no weight of the KL in {meaning!r}'
        scalar = (dec * case.inputs['grad_dec']).sum() + float(weight[1]) * posterior.kl().mean()
        scalar.backward()
        got['scalar'] = scalar
    return got


def gradients(case: Case, built: Any) -> dict[str, Tensor]:
    parameters = dict(built.named_parameters())
    found = {}
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            grad = parameters[our_name(case, key)].grad
            found[name] = grad.reshape(case.state[key].shape)
        elif name.startswith('after:'):
            key = name.removeprefix('after:')
            found[name] = built.quantizer.update.usage_K if key.endswith('embed_prob') else built.quantizer.embedding
    return found


def our_name(case: Case, key: str) -> str:
    if key == titok.PIXEL_CODEBOOK:
        return 'decoder.head.codebook'
    if key.startswith(titok.PIXEL_DECODER):
        levels = len({each.split('.')[2] for each in case.state if each.startswith('pixel_decoder.up.')})
        blocks = len({each.split('.')[2] for each in case.state if each.startswith('pixel_decoder.mid.')})
        (own,) = rename({key.removeprefix('pixel_'): case.state[key]}, maskgit_rules(levels, blocks), case.name)
        return f'decoder.head.{own}'
    rules = (*titok.RULES, titok.LOGITS_RULE if titok.LOGITS in case.state else titok.PIXELS_RULE)
    (own,) = rename({key: case.state[key]}, rules, case.name)
    return own


def stage2_loss(case: Case) -> dict[str, Tensor]:
    """Both halves of a training step; the peer's images and losses of pixels are those of [0, 1]."""
    options = case.constructor
    kind = options.get('reconstruction_loss', 'l2')
    scale = dict(l1=0.5, l2=0.25)[kind] * options.get('reconstruction_weight', 1.0)
    pixels = LOSSES.build(dict(type=PIXEL_LOSSES[kind], weight=scale))
    perceptual = LOSSES.build(dict(type='ConvNeXtLoss', weight=options.get('perceptual_weight', 1.1), random=True))
    prefix = 'perceptual_loss.convnext.'
    perceptual.network.net.load_state_dict(part(case.state, prefix))
    lecam_weight, decay = options.get('lecam_regularization_weight', 0.0), options.get('lecam_ema_decay', 0.999)
    lecam = dict(type='LeCAM', weight=lecam_weight, decay=decay, batch_means=True) if lecam_weight else None
    adversarial: AdversarialLoss = LOSSES.build(
        dict(
            type='AdversarialLoss',
            discriminator=dict(type='BlurredCNN', **discriminator_sizes(case)),
            weight=options['discriminator_weight'] * options.get('discriminator_factor', 1.0),
            discriminator_weight=options.get('discriminator_factor', 1.0),
            start=options['discriminator_start'],
            lecam=lecam,
        )
    ).train(case.training)
    own = {key: value for key, value in part(case.state, 'discriminator.').items() if not key.endswith('.kernel')}
    load(adversarial.discriminator, own, DISCRIMINATOR_RULES)
    means = torch.cat([case.state['ema_real_logits_mean'], case.state['ema_fake_logits_mean']])
    if adversarial.lecam is not None:
        adversarial.lecam.means.copy_(means)
        means = adversarial.lecam.means
    step = re.search(r'step (\d+)', case.description['call'])
    assert step is not None, f'{case.name}: `call` does not say which step it is of'
    active = adversarial.active(int(step[1]))

    unit = case.inputs['recon'].clone().requires_grad_()
    image, recon = case.inputs['image'] * 2 - 1, unit * 2 - 1
    reconstruction, perceptual_term = pixels(recon, image), perceptual(recon, image)
    gan_loss = active * adversarial.generator(recon)
    total = reconstruction + perceptual_term + options.get('quantizer_weight', 1.0) * case.inputs['quantizer_loss']
    total = total + adversarial.weight * gan_loss
    total.backward()
    got = {
        'total_loss': total,
        'reconstruction_loss': reconstruction,
        'perceptual_loss': perceptual_term,
        'gan_loss': gan_loss,
        'g_recon': unit.grad,
        'logits_real': adversarial.discriminator(image).mean(),
        'logits_fake': adversarial.discriminator(recon).mean(),
    }
    terms = adversarial(image, recon)
    lecam_loss = terms.get('lecam', torch.zeros(()))
    discriminator_loss = active * terms['discriminator'] + lecam_loss
    discriminator_loss.backward()
    got |= {'discriminator_loss': discriminator_loss, 'lecam_loss': lecam_loss}
    got |= dict(zip(('after:ema_real_logits_mean', 'after:ema_fake_logits_mean'), means.split(1), strict=True))
    for name in case.outputs:
        if name.startswith('g:discriminator.'):
            got[name] = gradient(adversarial.discriminator, DISCRIMINATOR_RULES, name.split('.', 1)[1], own)
    return got


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def discriminator_sizes(case: Case) -> dict[str, int]:
    stages = {key.split('.')[2] for key in case.state if key.startswith('discriminator.blocks.')}
    ch, in_channels = case.state['discriminator.block_in.0.weight'].shape[:2]
    return dict(in_channels=in_channels, ch=ch, stages=len(stages))
