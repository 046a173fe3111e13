"""ViT-VQGAN, imported as `tools/convert.py` does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop.vit_vqgan import RULES, import_tokenizer

from ..case import Case
from .gradients import peer_gradient
from .maskgit_vq import to_unit


def vit_vqgan(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    wanted = options['quantizer']
    depth = wanted['num_quantizers'] if wanted.get('use_residual') else None
    config, state = import_tokenizer(
        case.state,
        depth=depth,
        l2_norm=wanted.get('use_norm', True),
        head_width=options['encoder'].get('dim_head', 64),
    )
    inner: dict[str, Any] = config['quantizer'] if depth is None else config['quantizer']['quantizer']
    inner['loss'] = dict(type='VQLoss', beta=wanted.get('beta', 0.25))
    tokenizer: Tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    tokenizer.train()  # the peer has losses in eval too
    h = tokenizer.encode_latent(case.inputs['image'] * 2 - 1)
    quantized = tokenizer.quantizer(h)
    dec = to_unit(tokenizer.decode_latent(quantized.z_q_BDHW))
    loss = torch.stack([*quantized.losses.values()]).sum()
    indices_BL = quantized.codes.indices_BL
    got = {
        'h': tokens(h),
        'quant': tokens(quantized.z_q_BDHW),
        'indices': indices_BL if depth is None else indices_BL.unflatten(1, (-1, depth)),
        'loss': loss,
        'dec': dec,
        'dec_from_code': to_unit(tokenizer.decode(quantized.codes)),
    }
    if 'grad_dec' not in case.inputs:
        return got
    got['scalar'] = (dec * case.inputs['grad_dec']).sum() + loss
    got['scalar'].backward()
    codebook = 'quantizer.embedding' if depth is None else 'quantizer.quantizers.0.embedding'
    rules = [(r'quantizer\.embedding\.weight', codebook), *RULES]
    for name in case.outputs:
        if name.startswith('g:'):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(tokenizer, lambda one: rename(one, rules, case.name), key, case.state[key])
    return got


def tokens(z_BDHW: Tensor) -> Tensor:
    """(B, D, H, W) to (B, L, D)."""
    return z_BDHW.flatten(2).transpose(1, 2)
