"""Whole tokenizers of LlamaGen and FVQ, imported as `tools/convert.py` does."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_core.registry import IMPORTERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop import fvq_release as fvq_rules
from fvq_quantizers.interop import llamagen as llamagen_rules

from ..case import Case
from .gradients import peer_gradient
from .projectors import RULES as BRIDGE_RULES
from .quantizers import ring_buffer

# Short names of gradients in the cases -> the peer's keys.
GRADIENTS = {
    'g_embedding': 'quantize.embedding.weight',
    'g_quant_conv': 'quant_conv.weight',
    'g_enc_in': 'encoder.conv_in.weight',
    'g_dec_out': 'decoder.conv_out.weight',
}


def llamagen(case: Case) -> dict[str, Tensor]:
    return whole(case, 'llamagen', case.constructor['codebook_l2_norm'])


def fvq_release(case: Case) -> dict[str, Tensor]:
    """The plain tokenizer, or the residual one: four codes a position, no normalisation, no entropy whatever is asked."""
    if 'rqvae' in case.description['peer']['file']:
        return whole(case, 'fvq', l2_norm=False, depth=4)
    return whole(case, 'fvq', case.constructor.get('codebook_l2_norm', False))


def build(case: Case, peer: str, l2_norm: bool, **of_importer: int) -> Tokenizer:
    """Ours with the peer's weights, and the losses that the constructor asks for."""
    options = case.constructor
    config, state = IMPORTERS.resolve(peer).read(case.state, l2_norm=l2_norm, **of_importer)
    config = copy.deepcopy(config)
    quantizer: dict[str, Any] = config['quantizer'].get('quantizer', config['quantizer'])
    quantizer['loss'] = dict(type='VQLoss', beta=options.get('commit_loss_beta', 0.25))
    if options.get('entropy_loss_ratio') and quantizer is config['quantizer']:
        quantizer['regularizer'] = dict(type='EntropyRegularizer', weight=options['entropy_loss_ratio'])
    tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    return tokenizer.train(case.training)


def whole(case: Case, peer: str, l2_norm: bool, **of_importer: int) -> dict[str, Tensor]:
    tokenizer = build(case, peer, l2_norm, **of_importer)
    image = case.inputs['image']
    h_enc = tokenizer.encoder(image)
    h = tokenizer.pre_quant(h_enc)
    quantized = tokenizer.quantizer(h)
    dec = tokenizer.decode_latent(quantized.z_q_BDHW)
    depth = of_importer.get('depth')
    indices = quantized.codes.indices_BL.flatten() if depth is None else quantized.codes.indices_BL.reshape(-1, depth)
    codebook = tokenizer.quantizer.codebook()
    got = {
        'h_enc': h_enc,
        'h': h,
        'quant': quantized.z_q_BDHW,
        'indices': indices,
        'dec': dec,
        'dec_from_code': tokenizer.decode(quantized.codes),
        'codebook_entry': tokenizer.quantizer.embed(quantized.codes),
        'codebook': codebook.unsqueeze(0),
        'codebook_head': codebook[:64],
        'codebook_tail': codebook[-64:],
    }
    if case.training:
        got.update(training(case, tokenizer, dec, quantized.losses, indices))
    return got


def training(
    case: Case,
    tokenizer: Tokenizer,
    dec: Tensor,
    losses: Mapping[str, Tensor],
    indices: Tensor,
) -> dict[str, Tensor]:
    scalar = (dec * case.inputs['grad_dec']).sum() + sum(losses.values())
    scalar.backward()
    size = len(tokenizer.quantizer.codebook())
    usage, tail = ring_buffer(case.state['quantize.codebook_used'], indices.flatten(), size)
    got = {
        'vq_loss': losses['codebook'],
        'commit_loss': losses['commitment'],
        'entropy_loss': losses.get('entropy', torch.tensor(0.0)),
        'codebook_usage': usage,
        'codebook_used_tail': tail,
        'scalar': scalar,
    }

    part = 'quantizer.quantizers.0.' if indices.dim() > 1 else 'quantizer.'
    for name in case.outputs:
        key = GRADIENTS.get(name, name.removeprefix('g:'))
        if name.startswith('g'):
            got[name] = peer_gradient(tokenizer, lambda state: our_name(state, part), key, case.state[key])
    return got


def our_name(state: dict[str, Tensor], quantizer: str) -> dict[str, Tensor]:
    """A one-key state dict under our name, by the importers' own rules; `quantizer` is where the vector quantizer is."""
    bridge = fvq_rules.BRIDGE_PREFIX
    if all(key.startswith(bridge) for key in state):
        inner = rename({key.removeprefix(bridge): value for key, value in state.items()}, BRIDGE_RULES, 'FVQ')
        return {f'{quantizer}projector.{key}': value for key, value in inner.items()}
    renamed = rename(state, (*llamagen_rules.AUTOENCODER_RULES, *llamagen_rules.QUANTIZER_RULES), 'LlamaGen')
    return {re.sub(r'^quantizer\.', quantizer, key): value for key, value in renamed.items()}


def fvq_folded(case: Case) -> dict[str, Tensor]:
    tokenizer = build(case, 'fvq', l2_norm=False).eval()
    folded = tokenizer.fold()
    image = case.inputs['image']
    output = folded(image)
    return {
        'baked_embedding': folded.quantizer.embedding,
        'baked_quant': output.quantized.z_q_BDHW,
        'baked_indices': output.codes.indices_BL.flatten(),
        'baked_dec': output.reconstruction,
        'dec': tokenizer(image).reconstruction,
    }
