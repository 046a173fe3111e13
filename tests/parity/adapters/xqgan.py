"""XQ-GAN's tokenizers, imported as `tools/convert.py` does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fvq_core.interop.key_map import rename
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop import xqgan

from ..case import Case
from .gradients import peer_gradient


def model(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    scales = options.get('v_patch_nums', [16])
    config, state = xqgan.import_tokenizer(
        case.state,
        l2_norm=options.get('codebook_l2_norm', True),
        scales=scales if len(scales) > 1 else None,
        heads=options.get('vit_heads'),
    )
    own: Any = config['quantizer'].get('quantizer', config['quantizer'])
    own.get('quantizer', own)['loss'] = dict(type='VQLoss', beta=len(scales) * options.get('commit_loss_beta', 0.25))
    tokenizer: Tokenizer = TOKENIZERS.build(config).train(case.training)
    load_weights(tokenizer, state, case.name)
    images = case.inputs['image'].clone().requires_grad_(case.training)
    groups = options.get('product_quant', 1)
    z = tokenizer.encode_latent(images)
    quantized = tokenizer.eval().quantizer(z)  # without what training drops
    dec = tokenizer.decode_latent(quantized.z_q_BDHW)
    by_group = z.unflatten(1, (groups, -1))
    got = {
        'h': by_group.transpose(1, 2).flatten(2)[..., None] if groups > 1 else z,
        'dec': dec,
        'rec': dec.clamp(-1, 1),
        'dec_from_code': tokenizer.decode(quantized.codes),
    }
    indices_BLG = quantized.codes.indices_BL.unflatten(1, (-1, groups))
    for group, f_hat in enumerate(quantized.z_q_BDHW.chunk(groups, 1)):
        got |= {f'f_hat_{group}': f_hat, f'indices_{group}': indices_BLG[..., group]}
    if groups == 1:
        got |= {'f_hat': got['f_hat_0'], 'indices': got['indices_0']}
    return got | gradients(case, tokenizer, images, dec)


def gradients(case: Case, tokenizer: Tokenizer, images: Tensor, dec: Tensor) -> dict[str, Tensor]:
    """Of a scalar of the decoded image, if the case has one."""
    names = [name for name in case.outputs if name.startswith('g:')]
    given = [name for name in case.inputs if name.startswith('grad')]
    if not names or len(given) != 1:
        return {}
    scalar = (dec * case.inputs[given[0]]).sum()
    scalar.backward()
    got: dict[str, Tensor] = {'scalar': scalar}
    for name in names:
        key = name.removeprefix('g:')

        def renamed(one: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                ours: xqgan.in_our_shape(ours, value) for ours, value in rename(one, xqgan.RULES, case.name).items()
            }

        got[name] = peer_gradient(tokenizer, renamed, key, case.state[key])
    return got
