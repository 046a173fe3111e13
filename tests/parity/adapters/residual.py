"""RQ-VAE's bottleneck."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fvq_core.registry import QUANTIZERS
from fvq_quantizers import ResidualQuantizer

from ..case import Case


def rq_bottleneck(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    if options['latent_shape'][:2] != options['code_shape'][:2]:
        pytest.skip('latent-shape folding of RQ-VAE is not there yet')
    if options['restart_unused_codes'] and case.training:
        pytest.skip('restarts draw at random')
    quantizer = build(case)
    got: dict[str, Tensor] = {}
    for number in ('', '2') if case.training else ('',):
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
    """In the peer's eval mode gradients flow and the codebook rests: a frozen update in train mode."""
    options = case.constructor
    update = dict(type='EMAUpdate', decay=options['decay']) if case.training else dict(type='Frozen')
    inner = dict(
        type='VectorQuantizer',
        codebook_size=options['n_embed'],
        code_dim=options['latent_shape'][-1],
        loss=dict(type='VQLoss', beta=1.0, codebook_weight=0.0),
        update=update,
    )
    quantizer = QUANTIZERS.build(
        dict(
            type='ResidualQuantizer',
            quantizer=inner,
            depth=options['code_shape'][-1],
            shared=options['shared_codebook'],
        )
    )
    for depth, vq in enumerate(quantizer.quantizers):
        with torch.no_grad():
            vq.embedding.copy_(case.state[f'codebooks.{depth}.weight'][:-1])
        if case.training:
            vq.update.counts_K.copy_(case.state[f'codebooks.{depth}.cluster_size_ema'])
            vq.update.sums_KD.copy_(case.state[f'codebooks.{depth}.embed_ema'])
    return quantizer.train()


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
    parts, sums = (quantizer.embed_depth(codes, cumulative=c).permute(0, 3, 4, 1, 2) for c in (False, True))
    soft, _ = quantizer.soft_codes(z, temperature=0.5)
    return {
        'embed_code': quantizer.embed(codes).permute(0, 2, 3, 1),
        'embed_code_with_depth': parts,
        'partial_select': parts[:, :, :, quantizer.depth - 2],
        'partial_add': sums[:, :, :, quantizer.depth - 2],
        'soft_codes': soft,
    }
