"""MaskGIT's tokenizers, the original and its port, imported as `tools/convert.py` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop.maskgit_vq import flax_sizes, import_tokenizer, port_key, rules

from ..case import Case


def build(case: Case, **quantizer: Any) -> Tokenizer:
    config, state = import_tokenizer(case.state)
    config['quantizer'].update(quantizer)
    tokenizer: Tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    return tokenizer.train(case.training)


def port(case: Case) -> dict[str, Tensor]:
    loss = dict(type='VQLoss', beta=case.constructor['commitment_cost'], legacy=True)
    tokenizer = build(case, loss=loss, regularizer=None)
    images = case.inputs['image'] * 2 - 1
    h = tokenizer.encode_latent(images)
    quantized = tokenizer.quantizer(h)
    dec = to_unit(tokenizer.decode_latent(quantized.z_q_BDHW))
    got = {'h': h, 'quant': quantized.z_q_BDHW, 'indices': quantized.codes.indices_BL, 'dec': dec}
    from_codes = to_unit(tokenizer.decode(quantized.codes))
    if not case.training:
        return {**got, 'dec_from_code': from_codes.clamp(0, 1)}
    loss = torch.stack([*quantized.losses.values()]).sum()
    scalar = (dec * case.inputs['grad_dec']).sum() + loss
    scalar.backward()
    levels, blocks = len(case.constructor['channel_mult']), case.constructor['num_res_blocks']
    got |= gradients(case, tokenizer, levels, blocks, lambda key: key)
    return {**got, 'loss': loss, 'scalar': scalar, 'dec_from_code': from_codes}


def original(case: Case) -> dict[str, Tensor]:
    """flax has channels last."""
    options = case.constructor
    entropy = dict(
        type='EntropyRegularizer',
        weight=options['entropy_loss_ratio'],
        temperature=options['entropy_temperature'],
        eps=1e-5,
    )
    loss = dict(type='VQLoss', beta=options['commitment_cost'])
    tokenizer = build(case, loss=loss, regularizer=entropy)
    h = tokenizer.encode_latent(case.inputs['image'].permute(0, 3, 1, 2) * 2 - 1)
    quantized = tokenizer.quantizer(h)
    dec = to_unit(tokenizer.decode_latent(quantized.z_q_BDHW))
    losses = quantized.losses
    loss = torch.stack([*losses.values()]).sum()
    scalar = (dec * case.inputs['grad_dec'].permute(0, 3, 1, 2)).sum() + loss
    scalar.backward()
    got = {
        'indices': quantized.codes.layout.unflatten(quantized.codes.indices_BL),
        'h': h.permute(0, 2, 3, 1),
        'z_q': quantized.z_q_BDHW.permute(0, 2, 3, 1),
        'dec': dec.permute(0, 2, 3, 1),
        'dec_from_code': to_unit(tokenizer.decode(quantized.codes)).permute(0, 2, 3, 1),
        'quantizer_loss': loss,
        'e_latent_loss': losses['commitment'],
        'q_latent_loss': losses['codebook'],
        'entropy_loss': losses['entropy'],
        'scalar': scalar,
    }
    levels, blocks = flax_sizes(case.state)
    found = gradients(case, tokenizer, levels, blocks, lambda key: port_key(key, levels, blocks))
    return got | {name: grad.permute(2, 3, 1, 0) if grad.dim() == 4 else grad for name, grad in found.items()}


def gradients(
    case: Case, tokenizer: Tokenizer, levels: int, blocks: int, in_port: Callable[[str], str]
) -> dict[str, Tensor]:
    """In our axes."""
    parameters = dict(tokenizer.named_parameters())
    keys = {name: name.removeprefix('g:') for name in case.outputs if name.startswith('g:')}
    ours = {
        name: [*rename({in_port(key): case.state[key]}, rules(levels, blocks), case.name)] for name, key in keys.items()
    }
    return {name: cast(Tensor, parameters[own].grad) for name, (own,) in ours.items()}


def to_unit(images: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return (images + 1) / 2
