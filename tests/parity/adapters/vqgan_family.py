"""Whole tokenizers with VQGAN's encoder and decoder and other quantizers: IBQ and Open-MAGVIT2 of SEED-Voken."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from fvq_core.interop.key_map import Rules, rename
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop.ibq import import_tokenizer as import_ibq
from fvq_quantizers.interop.open_magvit2 import TO_SPACE
from fvq_quantizers.interop.open_magvit2 import import_tokenizer as import_magvit2
from fvq_quantizers.interop.open_magvit2 import rules as magvit2_rules
from fvq_quantizers.interop.taming_autoencoder import autoencoder_rules

from ..case import Case
from .gradients import peer_gradient
from .lookup_free import factorized
from .quantizers import ibq_axes, ibq_entropies


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
    """`l2_normalize` is of a quantizer that the peer replaces, and `cosine_similarity` is never read."""
    options = case.constructor
    config, state = import_ibq(case.state)
    weight = weight_in_call(case, 'entropy_loss') if options.get('use_entropy_loss', False) else 0.0
    K, D = case.state['quantize.embedding.weight'].shape
    config['quantizer'] = dict(type='VectorQuantizer', codebook_size=K, code_dim=D, **ibq_axes(options, weight))
    tokenizer: Tokenizer = TOKENIZERS.build(config)
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
    if weight:
        got |= ibq_entropies(options, tokenizer.quantizer, h, quantized.losses['entropy'] / weight)
    levels = len(config['encoder']['ch_mult'])
    rules = ((r'quantize\.embedding\.weight', 'quantizer.embedding'), *autoencoder_rules(levels - 1))
    with_gradients(case, tokenizer, rules, got)
    return {**got, 'dec_from_code': tokenizer.eval().decode(quantized.codes)}


def magvit2_model(case: Case) -> dict[str, Tensor]:
    options, network = case.constructor, case.constructor['ddconfig']
    bits = options.get('factorized_bits', (9, 9)) if options.get('token_factorization') else None
    entropy, commitment = (weight_in_call(case, term) if case.training else 0.0 for term in ('emb_loss', 'commitment'))
    config, state = import_magvit2(case.state)
    config['quantizer'] |= dict(
        entropy_weight=entropy,
        commitment_weight=commitment,
        sample_weight=options.get('sample_minimization_weight', 1.0),
        batch_weight=options.get('batch_maximization_weight', 1.0),
        factorized_bits=bits,
    )
    tokenizer: Tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
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
    if bits:
        got |= factorized(quantized.codes, bits)
    with_gradients(case, tokenizer, magvit2_rules(len(network['ch_mult']), network['num_res_blocks']), got)
    for name in got:
        if TO_SPACE in name:
            got[name] = got[name].unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)
    return got
