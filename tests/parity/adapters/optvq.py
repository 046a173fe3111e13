"""OptVQ's tokenizer and its quantizer, imported as `tools/convert.py` does, with transport at inference as it has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.registry import QUANTIZERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_quantizers import ProductQuantizer, VectorQuantizer
from fvq_quantizers.interop.optvq import import_quantizer, import_tokenizer, quantizer_rules
from fvq_quantizers.interop.taming_autoencoder import autoencoder_rules

from ..case import Case
from .draws import stored_draws
from .quantizers import run
from .vqgan_family import with_gradients

COSTS = dict(all='standardized', dim='per_dimension', null='plain')


def with_options(case: Case, config: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Set what no file stores in the config of a quantizer."""
    if options.get('start_quantize_steps') is not None:
        raise NotImplementedError(f'{case.name}: start_quantize_steps is not an option of ours')
    inner = config.get('quantizer', config)
    inner['distance'] |= dict(
        inverse_temperature=options.get('epsilon', 10.0),
        iterations=options.get('n_iters', 5),
        cost=COSTS[options.get('normalize_mode', 'all')],
        draw=options.get('use_prob', True),
    )
    kind = options.get('loss_q_type', 'ce')
    inner['loss'] = (
        dict(type='AssignmentCrossEntropy')
        if kind == 'ce'
        else dict(type='VQLoss', beta=options.get('beta', 1.0), legacy=True, norm=kind)
    )
    if options.get('fix_codes', False):
        inner['update'] = dict(type='Frozen')


def inside(quantizer: VectorQuantizer | ProductQuantizer) -> VectorQuantizer:
    return quantizer.quantizer if isinstance(quantizer, ProductQuantizer) else quantizer


def by_head(indices_BL: Tensor, like: Tensor) -> Tensor:
    """(B, heads, H, W), from the codes of each position in turn."""
    B, _, H, W = like.shape
    return indices_BL.view(B, H, W, -1).permute(0, 3, 1, 2)


def optvq_quantizer(case: Case) -> dict[str, Tensor]:
    config, state = import_quantizer(case.state, case.inputs['z'].shape[1], transport=True)
    with_options(case, config, case.constructor)
    quantizer = QUANTIZERS.build(config)
    load_weights(quantizer, state, case.name)
    inner = inside(quantizer.train())
    latents = case.inputs['z']
    z_ND = latents.permute(0, 2, 3, 1).reshape(-1, inner.code_dim)
    with torch.no_grad():
        log_plan = torch.cat([*inner.distance.log_plan(z_ND, inner.codebook())])
    with stored_draws(case):
        z, output, scalar = run(case, quantizer)
    got = {
        'z_q': output.z_q_BDHW,
        'loss': sum(output.losses.values()),
        'assignment': log_plan.softmax(1),
        'scalar': scalar,
        'g_z': z.grad,
    }
    codes = output.codes if inner.distance.draw else quantizer.eval()(latents).codes
    got['indices'] = by_head(codes.indices_BL, latents)
    rules = quantizer_rules('quantizers.0.' if isinstance(quantizer, ProductQuantizer) else '')
    return with_gradients(case, quantizer, rules, got)


def optvq_model(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    config, state = import_tokenizer(case.state, transport=True)
    if options['quantize_type'] == 'optvq':
        with_options(case, config['quantizer'], options['quantize'])
    else:  # a plain codebook
        config['quantizer'].get('quantizer', config['quantizer']).pop('distance')
    tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    h = tokenizer.train().encode_latent(case.inputs['image'])
    with stored_draws(case):
        output = tokenizer.quantizer(h)
    dec, loss = tokenizer.decode_latent(output.z_q_BDHW), sum(output.losses.values())
    scalar = (dec * case.inputs['grad_dec']).sum() + loss
    scalar.backward()
    heads = isinstance(tokenizer.quantizer, ProductQuantizer)
    rules = [
        (r'quantize\.' + pattern, f'quantizer.{ours}')
        for pattern, ours in quantizer_rules('quantizers.0.' if heads else '')
    ] + [*autoencoder_rules(len(config['encoder']['ch_mult']) - 1)]
    got = {'h': h, 'quant': output.z_q_BDHW, 'loss': loss, 'dec': dec, 'scalar': scalar}
    got['codebook'] = inside(tokenizer.quantizer).codebook()
    got = with_gradients(case, tokenizer, rules, got)
    drawn = getattr(inside(tokenizer.quantizer).distance, 'draw', False)
    codes = output.codes if drawn else tokenizer.eval().encode(case.inputs['image'])
    tokenizer.eval()
    return {
        **got,
        'indices': by_head(codes.indices_BL, h),
        'dec_from_code': tokenizer.decode(codes),
    }
