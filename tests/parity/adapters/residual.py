"""RQ-VAE's bottleneck."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.registry import QUANTIZERS
from fvq_quantizers import ResidualQuantizer

from ..case import Case
from .draws import stored_draws


def rq_bottleneck(case: Case) -> dict[str, Tensor]:
    quantizer = build(case)
    got: dict[str, Tensor] = {}
    for number in ('', '2') if case.training else ('',):
        if f'x{number}' in case.inputs:
            with stored_draws(case):
                got.update(one_batch(case, quantizer, number))
    if case.training:
        for depth in range(quantizer.depth):
            vq = quantizer.at_depth(depth)
            padded = torch.cat([vq.embedding.detach(), vq.embedding.new_zeros(1, vq.code_dim)])
            prefix = f'after:codebooks.{depth}'
            got[f'{prefix}.weight'] = padded
            got[f'{prefix}.cluster_size_ema'] = vq.update.counts_K
            got[f'{prefix}.embed_ema'] = vq.update.sums_KD
    else:
        got.update(helpers(case, quantizer.eval()))
    return got


def build(case: Case) -> ResidualQuantizer:
    """In the peer's eval mode gradients flow and the codebook rests: a frozen update in train mode.

    Its `commitment_loss` option has no effect in the released code: the loss is always that of the partial sums.
    """
    options = case.constructor
    height, width, channels = options['latent_shape']
    rows, columns, depth = options['code_shape']
    joined = (height // rows, width // columns)
    shared = options.get('shared_codebook', False)
    sizes, decays = options['n_embed'], options.get('decay', 0.99)
    several: dict[str, Any] = {}
    if isinstance(sizes, list):
        several['codebook_sizes'] = sizes
    if isinstance(decays, list):
        several['updates'] = [update(case, decay) for decay in decays]
    inner = dict(
        type='VectorQuantizer',
        codebook_size=sizes[0] if isinstance(sizes, list) else sizes,
        code_dim=joined[0] * joined[1] * channels,
        loss=dict(type='VQLoss', beta=1.0, codebook_weight=0.0),
        update=update(case, decays[0] if isinstance(decays, list) else decays),
    )
    quantizer = QUANTIZERS.build(
        dict(type='ResidualQuantizer', quantizer=inner, depth=depth, shared=shared, space_to_depth=joined, **several)
    )
    for depth, vq in enumerate(quantizer.quantizers):
        with torch.no_grad():
            vq.embedding.copy_(case.state[f'codebooks.{depth}.weight'][:-1])
        if case.training:
            vq.update.counts_K.copy_(case.state[f'codebooks.{depth}.cluster_size_ema'])
            vq.update.sums_KD.copy_(case.state[f'codebooks.{depth}.embed_ema'])
    return quantizer.train()


def update(case: Case, decay: float) -> dict[str, Any]:
    if not case.training:
        return dict(type='Frozen')
    return dict(type='EMAUpdate', decay=decay, restart=case.constructor.get('restart_unused_codes', True))


def one_batch(case: Case, quantizer: ResidualQuantizer, number: str) -> dict[str, Tensor]:
    x = case.inputs[f'x{number}'].clone().requires_grad_()
    output = quantizer(x.permute(0, 3, 1, 2))
    quants = output.z_q_BDHW.permute(0, 2, 3, 1)
    loss = output.losses['commitment']
    ((quants * case.inputs['grad_quants']).sum() + loss).backward()
    return {
        f'quants{number}': quants,
        f'commitment_loss{number}': loss,
        f'codes{number}': output.codes.unflatten(),
        f'g_x{number}': x.grad,
    }


@torch.no_grad()
def helpers(case: Case, quantizer: ResidualQuantizer) -> dict[str, Tensor]:
    z = case.inputs['x'].permute(0, 3, 1, 2)
    codes = quantizer(z).codes
    last = max(quantizer.depth - 2, 0)
    partial = {
        name: quantizer.embed_partial(codes, last, cumulative=name == 'add').permute(0, 2, 3, 1)
        for name in ('select', 'add')
    }
    soft_BLV, codes = quantizer.soft_codes(z, temperature=0.5)
    return {
        'embed_code': quantizer.embed(codes).permute(0, 2, 3, 1),
        'embed_code_with_depth': quantizer.embed_depth(codes).permute(0, 3, 4, 1, 2),
        'partial_select': partial['select'],
        'partial_add': partial['add'],
        'soft_codes': soft_BLV.view(len(codes), *codes.layout.shape, -1),
    }
