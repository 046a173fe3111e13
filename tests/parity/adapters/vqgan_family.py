"""Whole tokenizers with VQGAN's encoder and decoder and other quantizers: IBQ and Open-MAGVIT2 of SEED-Voken, OptVQ."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fvq_core.interop.key_map import Rules, rename
from fvq_core.registry import QUANTIZERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.interop.taming_autoencoder import autoencoder_rules, import_autoencoder

from ..case import Case
from .gradients import peer_gradient
from .quantizers import ibq_axes, ibq_entropies

UPSAMPLE = '.upsample.conv1.'
NOT_WEIGHTS = (r'loss\..*', r'model_ema\..*')


def weight_in_call(case: Case, term: str) -> float:
    """The factor of a term in the scalar that the case differentiates, as `call` has it."""
    match = re.search(rf'([\d.]+)\s*\*\s*[\w.]*{term}', case.description['call'] or '')
    if match is None:
        raise NotImplementedError(f'{case.name}: `call` gives no weight of {term}: {case.description["call"]}')
    return float(match[1])


def with_gradients(case: Case, module: nn.Module, rules: Rules, got: dict[str, Tensor]) -> dict[str, Tensor]:
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(module, lambda one: rename(one, rules, case.name), key, case.state[key])
    return got


def ibq_model(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    if options.get('l2_normalize'):
        raise NotImplementedError(f'{case.name}: l2_normalize is not an option of the released models')
    rest = {key: value for key, value in case.state.items() if not key.startswith('quantize.')}
    config, state = import_autoencoder(rest, 'IBQ', NOT_WEIGHTS)
    state['quantizer.embedding'] = case.state['quantize.embedding.weight']
    weight = weight_in_call(case, 'entropy_loss') if options['use_entropy_loss'] else 0.0
    quantizer = dict(
        type='VectorQuantizer',
        codebook_size=options['n_embed'],
        code_dim=options['embed_dim'],
        **ibq_axes(options, weight),
    )
    tokenizer: Tokenizer = TOKENIZERS.build(dict(type='Tokenizer', **config, quantizer=quantizer))
    load_weights(tokenizer, state, case.name)
    tokenizer.train()  # the peer has losses in eval too
    h = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(h)
    dec = tokenizer.decode_latent(quantized.z_q_BDHW)
    scalar = (dec * case.inputs['grad_dec']).sum() + sum(quantized.losses.values())
    scalar.backward()
    got = {
        'h': h,
        'quant': quantized.z_q_BDHW,
        'indices': quantized.codes.indices_BL.flatten(),
        'dec': dec,
        'quant_loss': sum(value for name, value in quantized.losses.items() if name != 'entropy'),
        'scalar': scalar,
    }
    if options['use_entropy_loss']:
        got |= ibq_entropies(options, tokenizer.quantizer, h, quantized.losses['entropy'] / weight)
    levels = len(config['encoder']['ch_mult'])
    rules = ((r'quantize\.embedding\.weight', 'quantizer.embedding'), *autoencoder_rules(levels - 1))
    with_gradients(case, tokenizer, rules, got)
    return {**got, 'dec_from_code': tokenizer.eval().decode(quantized.codes)}


def magvit2_rules(last: int, blocks: int) -> Rules:
    """Levels of the peer's decoder are counted from the image, of ours in the order they run."""
    rules = [
        (r'((?:encoder|decoder)\.(?:conv_in|conv_out|norm_out)\..*)', r'\1'),
        (r'(encoder|decoder)\.mid_block\.(\d+)\.(.*)', r'\1.mid.\2.\3'),
    ]
    for level in range(last + 1):
        for theirs, ours in ((f'encoder.down.{level}', level), (f'decoder.up.{level}', last - level)):
            half, escaped = theirs.split('.')[0], re.escape(theirs)
            rules += [
                (rf'{escaped}\.block\.(\d+)\.nin_shortcut\.(.*)', rf'{half}.levels.{ours}.\1.shortcut.\2'),
                (rf'{escaped}\.block\.(\d+)\.(.*)', rf'{half}.levels.{ours}.\1.\2'),
                (rf'{escaped}\.downsample\.(.*)', rf'{half}.levels.{ours}.{blocks}.\1'),
                (rf'{escaped}\.upsample\.conv1\.(.*)', rf'{half}.levels.{ours}.{blocks}.conv.\1'),
            ]
        rules += [
            (rf'decoder\.adaptive\.{level}\.gamma\.(.*)', rf'decoder.adaptive.{last - level}.scale.\1'),
            (rf'decoder\.adaptive\.{level}\.beta\.(.*)', rf'decoder.adaptive.{last - level}.shift.\1'),
        ]
    return rules


def magvit2_model(case: Case) -> dict[str, Tensor]:
    options, network = case.constructor, case.constructor['ddconfig']
    if options.get('token_factorization'):
        raise NotImplementedError(f'{case.name}: token_factorization is compared by the cases of the quantizer')
    common = dict(
        ch=network['ch'],
        ch_mult=network['ch_mult'],
        num_res_blocks=network['num_res_blocks'],
        z_channels=network['z_channels'],
    )
    entropy, commitment = (weight_in_call(case, term) if case.training else 0.0 for term in ('emb_loss', 'commitment'))
    quantizer = dict(
        type='LFQ',
        codebook_size=options['n_embed'],
        entropy_weight=entropy,
        commitment_weight=commitment,
        sample_weight=options['sample_minimization_weight'],
        batch_weight=options['batch_maximization_weight'],
        pool_groups=True,
    )
    tokenizer: Tokenizer = TOKENIZERS.build(
        dict(
            type='Tokenizer',
            encoder=dict(type='MAGVIT2Encoder', in_channels=network['in_channels'], **common),
            quantizer=quantizer,
            decoder=dict(type='AdaptiveGroupNormDecoder', out_channels=network['out_ch'], **common),
            quant_kernel=0,
        )
    )
    rules = magvit2_rules(len(network['ch_mult']) - 1, network['num_res_blocks'])
    # Before depth becomes space, the peer's channels are (row, column, channel), ours (channel, row, column).
    state = {
        k: v.unflatten(0, (4, -1)).transpose(0, 1).flatten(0, 1) if UPSAMPLE in k else v for k, v in case.state.items()
    }
    load_weights(tokenizer, rename(state, rules, case.name, NOT_WEIGHTS), case.name)
    tokenizer.train()
    h = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(h)
    dec = tokenizer.decode_latent(quantized.z_q_BDHW)
    scalar = (dec * case.inputs['grad_dec']).sum() + sum(quantized.losses.values())
    scalar.backward()
    zero = torch.zeros(())
    with torch.no_grad():
        sample, batch = tokenizer.quantizer.entropies(tokenizer.quantizer.enter(h)) if case.training else (zero, zero)
    got = {
        'h': h,
        'quant': quantized.z_q_BDHW,
        'indices': quantized.codes.indices_BL.flatten(),
        'dec': dec,
        'entropy_aux_loss': quantized.losses['entropy'] / entropy if entropy else zero,
        'per_sample_entropy': sample,
        'codebook_entropy': batch,
        'commit_loss': quantized.losses['commitment'] / commitment if commitment else zero,
        'scalar': scalar,
    }
    with_gradients(case, tokenizer, rules, got)
    for name in got:
        if UPSAMPLE in name:
            got[name] = got[name].unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
    return got


class HeadsOfOptVQ:
    """Every vector is cut into pieces, which share a codebook and an assignment: pieces are rows of a taller latent."""

    def __init__(self, case: Case, options: dict[str, Any], prefix: str = '') -> None:
        fixed = dict(fix_codes=False, normalize_mode='all', use_prob=False)
        for name, value in fixed.items():
            if options.get(name, value) != value:
                raise NotImplementedError(f'{case.name}: {name}={options[name]} is not an option of ours')
        if options['loss_q_type'] != 'l2':
            pytest.skip(f'{case.name}: loss_q_type={options["loss_q_type"]}; ours has no such loss of the assignment')
        self.heads = options.get('num_head', 1)
        K, dim = case.state[f'{prefix}embedding.weight'].shape
        self.quantizer: VectorQuantizer = QUANTIZERS.build(
            dict(
                type='VectorQuantizer',
                codebook_size=K,
                code_dim=dim,
                projector=dict(type='LinearProjector') if options['use_proj'] else None,
                loss=dict(type='VQLoss', beta=options['beta'], legacy=True),
                update=dict(
                    type='SinkhornAssignment', inverse_temperature=options['epsilon'], iterations=options['n_iters']
                ),
            )
        ).train()
        state = {key.removeprefix(prefix): value for key, value in case.state.items() if key.startswith(prefix)}
        self.rules = ((rf'{prefix}embedding\.weight', 'embedding'), (rf'{prefix}proj\.(.*)', r'projector.map.\1'))
        renamed = rename({f'{prefix}{key}': value for key, value in state.items()}, self.rules, case.name)
        load_weights(self.quantizer, renamed, case.name)

    def split(self, z_BDHW: Tensor) -> Tensor:
        return z_BDHW.unflatten(1, (self.heads, -1)).transpose(1, 2).flatten(2, 3)

    def join(self, z_BDHW: Tensor) -> Tensor:
        return z_BDHW.unflatten(2, (self.heads, -1)).transpose(1, 2).flatten(1, 2)


def optvq_quantizer(case: Case) -> dict[str, Tensor]:
    heads = HeadsOfOptVQ(case, case.constructor)
    z = case.inputs['z'].clone().requires_grad_()
    output = heads.quantizer(heads.split(z))
    z_q, loss = heads.join(output.z_q_BDHW), sum(output.losses.values())
    scalar = (z_q * case.inputs['grad_zq']).sum() + loss
    scalar.backward()
    B, _, H, W = z.shape
    got = {'z_q': z_q, 'loss': loss, 'scalar': scalar, 'g_z': z.grad}
    got['indices'] = output.codes.indices_BL.view(B, heads.heads, H, W)
    return with_gradients(case, heads.quantizer, heads.rules, got)


def optvq_model(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    if options['quantize_type'] != 'optvq' or not options['use_connector']:
        raise NotImplementedError(f'{case.name}: only quantize_type=optvq with use_connector is known')
    heads = HeadsOfOptVQ(case, options['quantize'], 'quantize.')
    rest = {key: value for key, value in case.state.items() if not key.startswith('quantize.')}
    config, state = import_autoencoder(rest, 'OptVQ', NOT_WEIGHTS)
    whole = dict(type='VectorQuantizer', codebook_size=1, code_dim=options['quantize']['e_dim'])  # not used
    tokenizer: Tokenizer = TOKENIZERS.build(dict(type='Tokenizer', **config, quantizer=whole))
    state['quantizer.embedding'] = tokenizer.quantizer.embedding.detach()
    load_weights(tokenizer, state, case.name)
    h = tokenizer.encode_latent(case.inputs['image'])
    output = heads.quantizer(heads.split(h))
    quant, loss = heads.join(output.z_q_BDHW), sum(output.losses.values())
    dec = tokenizer.decode_latent(quant)
    scalar = (dec * case.inputs['grad_dec']).sum() + loss
    scalar.backward()
    B, _, H, W = h.shape
    got = {'h': h, 'quant': quant, 'loss': loss, 'dec': dec, 'scalar': scalar, 'codebook': heads.quantizer.codebook()}
    got['indices'] = output.codes.indices_BL.view(B, heads.heads, H, W)
    with torch.no_grad():
        got['dec_from_code'] = tokenizer.decode_latent(heads.join(heads.quantizer.embed(output.codes)))
    both = nn.ModuleDict(dict(tokenizer=tokenizer, heads=heads.quantizer))
    levels = len(config['encoder']['ch_mult'])
    rules = [(pattern, f'heads.{ours}') for pattern, ours in heads.rules]
    rules += [(pattern, f'tokenizer.{ours}') for pattern, ours in autoencoder_rules(levels - 1)]
    return with_gradients(case, both, rules, got)
