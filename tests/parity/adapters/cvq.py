"""The quantizer of CVQ-VAE."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from fvq_core.ops.codebook_statistics import perplexity

from ..case import Case
from .draws import choose, gumbel_noise, stored_draws
from .quantizers import build, run


def cvq(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    contrastive = options.get('contras_loss', False)
    axes: dict[str, Any] = dict(loss=dict(type='VQLoss', beta=options['beta']))
    if options.get('distance', 'cos') == 'cos':
        axes.update(normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
    if case.training:
        anchor = options.get('anchor', 'probrandom')
        first_batch = options.get('first_batch', False)
        # With the contrastive loss, the peer's backward pass reads codes that were overwritten before it.
        axes['update'] = dict(type='CVQUpdate', anchor=anchor, first_batch=first_batch, legacy=contrastive)
        axes['regularizer'] = dict(type='ContrastiveRegularizer', weight=float(contrastive))
    quantizer = build(case, 'embedding.weight', **axes).train()  # the peer has the loss and its gradients in eval too
    if case.training:
        quantizer.update.usage_K.copy_(case.state['embed_prob'])
        if options.get('anchor') == 'random':
            start_pool(case, quantizer.update.pool_KD)
    anchors = nullcontext()
    if 'multinomial_draw' in case.inputs:  # ours draws by Gumbel noise
        z = case.inputs['z']
        anchors = gumbel_noise(choose(case.inputs['multinomial_draw'], z.numel() // z.shape[1]))
    elif 'torch.multinomial' in case.description['determinism']:
        raise NotImplementedError(f'{case.name}: no input multinomial_draw; {case.description["determinism"]}')
    with stored_draws(case), anchors:
        z, output, scalar = run(case, quantizer)
    indices = output.codes.indices_BL.flatten()
    return {
        'z_q': output.z_q_BDHW,
        'loss': torch.stack(list(output.losses.values())).sum(),
        'perplexity': torch.tensor(perplexity(torch.bincount(indices, minlength=quantizer.codebook_size))),
        'indices': indices,
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad,
        'after:embed_prob': quantizer.update.usage_K if case.training else case.state['embed_prob'],
        'after:embedding.weight': quantizer.embedding,
    }


def start_pool(case: Case, pool_KD: Tensor) -> None:
    """What the peer's pool held before; a batch of more latents than codes refills it whole."""
    given = next((value for key, value in {**case.state, **case.inputs}.items() if 'pool' in key), None)
    if given is not None:
        pool_KD.copy_(given)
    elif case.inputs['z'].numel() // case.inputs['z'].shape[1] <= len(pool_KD):
        raise NotImplementedError(f'{case.name}: a small batch, and no input holds what the pool started with')
