"""MoVQ of Kandinsky and of diffusers, imported as `tools/convert.py` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.registry import IMPORTERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer

from ..case import Case


def movqgan(case: Case) -> dict[str, Tensor]:
    return whole(case, 'movq')


def diffusers(case: Case) -> dict[str, Tensor]:
    """`decode` of the peer quantizes; its loss has no weight of its own."""
    return whole(case, 'diffusers-vq', norm_groups=case.constructor.get('norm_num_groups', 32))


def whole(case: Case, peer: str, **options: Any) -> dict[str, Tensor]:
    read: Callable[..., tuple[dict[str, Any], Mapping[str, Tensor]]] = IMPORTERS.resolve(peer).read
    config, state = read(case.state, **options)
    tokenizer: Tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    tokenizer.train()  # the peers have losses in eval too
    h = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(h)
    dec = tokenizer.decode_latent(quantized.z_q_BDHW)
    loss = torch.stack([*quantized.losses.values()]).sum()
    got = {
        'h': h,
        'quant': quantized.z_q_BDHW,
        'indices': quantized.codes.indices_BL.flatten(),
        'loss': loss,
        'dec': dec,
        'dec_from_code': tokenizer.decode(quantized.codes),
    }
    if 'grad_dec' not in case.inputs:
        return got
    scalar = (dec * case.inputs['grad_dec']).sum() + loss
    scalar.backward()
    # The importer maps tensors by key: one that is the same object tells our name of the peer's.
    ours = {id(value): name for name, value in state.items()}
    parameters = dict(tokenizer.named_parameters())
    for name in case.outputs:
        if name.startswith('g:'):
            like = case.state[name.removeprefix('g:')]
            got[name] = cast(Tensor, parameters[ours[id(like)]].grad).view(like.shape)
    return {**got, 'scalar': scalar}
