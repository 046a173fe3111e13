"""XQ-GAN's tokenizers (`VQModel` of ImageFolder) with vision transformers: one code a position, two groups, or scales."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import QueryViTDecoder, QueryViTEncoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .var import import_quantizer as import_scales

MARKERS = ('encoder.latent_tokens', 'decoder.mask_token', 'decoder.to_pixel.model.weight')
SCALES = (1, 1, 2, 3, 3, 4, 5, 6, 8, 11)
HEAD_WIDTH = 64  # of attention, in every DINOv2
QUANTIZER = re.compile(r'quantizes?\.(?:(\d+)\.)?(?=embedding|ema_vocab|quant_resi)')
# Frozen networks that training looks at, what it projects with, and the kinds of tokens, which follow from their numbers.
NOT_WEIGHTS = (r'(semantic|detail)_(model|loss)\..*', r'sem_linear\..*', r'(encoder|decoder)\.lvl1LC')
RULES: Rules = (
    (r'encoder\.latent_tokens', 'encoder.queries'),
    (r'decoder\.mask_token', r'decoder.mask_token'),
    (r'(encoder|decoder)\.model\.cls_token', r'\1.transformer.class_token'),
    (r'(encoder|decoder)\.model\.pos_embed', r'\1.transformer.positions'),
    (r'(encoder|decoder)\.lvl_embed\.weight', r'\1.transformer.kinds'),
    (r'(encoder|decoder)\.latent_pos_embed', r'\1.transformer.latent_positions'),
    (r'(encoder|decoder)\.model\.blocks\.(\d+)\.ls([12])\.gamma', r'\1.transformer.blocks.\2.scale\3'),
    (r'(encoder|decoder)\.model\.(blocks\..*|norm\..*)', r'\1.transformer.\2'),
    (r'encoder\.model\.patch_embed\.proj\.(.*)', r'encoder.patch_embed.\1'),
    (r'decoder\.to_pixel\.model\.(.*)', r'decoder.to_pixels.\1'),
    (r'quant_conv\.(.*)', r'encoder.proj_out.\1'),
    (r'post_quant_conv\.(.*)', r'decoder.embed.\1'),
)


def import_tokenizer(
    state: Mapping[str, Tensor],
    l2_norm: bool = True,
    scales: Sequence[int] | None = None,
    heads: int | None = None,
    phi_ratio: float = 0.5,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from XQ-GAN's.

    Args:
        l2_norm: Whether codes are l2-normalized (`codebook_l2_norm`), which no file stores; they are in all released files.
        scales: The peer's `v_patch_nums`, if several, which no file stores; by default those of its released models.
        heads: Attention heads, if not one for 64 channels.
        phi_ratio: The size of the peer's `quant_resi`, which no file stores; 0.5 in the released ones.
    """
    if missing := [key for key in MARKERS if key not in state]:
        raise LayoutError(f'XQ-GAN: not a tokenizer of its vision transformers: no {missing[0]}.')
    parts: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if found := QUANTIZER.match(key):
            parts.setdefault(int(found[1] or 0), {})[key[found.end() :]] = value
    rest = {key: value for key, value in state.items() if not QUANTIZER.match(key)}
    groups = len(parts)
    config, renamed = quantizers(parts, l2_norm, scales, phi_ratio)
    halves = [half_sizes(state, half, heads, groups if half == 'encoder' else 1) for half in ('encoder', 'decoder')]
    patch_embed = state['encoder.model.patch_embed.proj.weight']
    for sizes in halves:
        sizes.update(
            image_size=math.isqrt(sizes.pop('patches')) * patch_embed.shape[2], patch_size=patch_embed.shape[2]
        )
        sizes.update(groups=groups, z_channels=len(state['quant_conv.weight']))
    for key, value in rename(rest, RULES, 'XQ-GAN', NOT_WEIGHTS).items():
        renamed[key] = in_our_shape(key, value)
    whole = dict(
        type=Tokenizer,
        encoder=dict(type=QueryViTEncoder, **halves[0], in_channels=patch_embed.shape[1]),
        quantizer=config,
        decoder=dict(
            type=QueryViTDecoder,
            **halves[1],
            out_channels=len(state['decoder.to_pixel.model.weight']) // patch_embed.shape[2] ** 2,
        ),
        quant_kernel=0,
    )
    return whole, renamed


def quantizers(
    parts: Mapping[int, Mapping[str, Tensor]], l2_norm: bool, scales: Sequence[int] | None, phi_ratio: float
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of the quantizer of all groups."""
    one, renamed = parts[0], {}
    K, D = one['embedding.weight'].shape
    several = one['ema_vocab_hit_SV'].dim() == 2
    prefix = 'quantizer.quantizers.{}.' if len(parts) > 1 else 'quantizer.'
    config: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
    config |= dict(normalize=dict(type='L2Normalize')) if l2_norm else {}
    for group, part in parts.items():
        own = {'embedding': part['embedding.weight']}
        if several:
            config, own = import_scales(part, scales or SCALES, l2_norm, phi_ratio)
        renamed |= {prefix.format(group) + key: value for key, value in own.items()}
    return (dict(type='ProductQuantizer', quantizer=config, groups=len(parts)) if len(parts) > 1 else config), renamed


def half_sizes(state: Mapping[str, Tensor], half: str, heads: int | None, groups: int) -> dict[str, Any]:
    """What a half's transformer is like."""
    width = state[f'{half}.model.cls_token'].shape[-1]
    if heads is None and width % HEAD_WIDTH:
        raise UserError(f'XQ-GAN: a width of {width} does not tell the number of heads; give it with --heads.')
    tokens = state['encoder.latent_tokens'].shape[1]
    own = state.get(f'{half}.latent_pos_embed')
    length = tokens // state_groups(state) if own is None else own.shape[1] // groups
    return dict(
        patches=state[f'{half}.model.pos_embed'].shape[1] - 1,
        latent_size=math.isqrt(length),
        width=width,
        depth=len({key.split('.')[3] for key in state if key.startswith(f'{half}.model.blocks.')}),
        heads=heads or width // HEAD_WIDTH,
        shared_positions=own is None,
    )


def state_groups(state: Mapping[str, Tensor]) -> int:
    """The number of quantizers."""
    return len({found[1] for key in state if (found := QUANTIZER.match(key))})


def in_our_shape(key: str, value: Tensor) -> Tensor:
    """Tokens without leading axes of length 1, and linear maps in place of 1x1 convolutions."""
    if key.endswith('_token'):
        return value.flatten()
    if key.endswith(('queries', 'positions')):
        return value[0]
    return value.flatten(1) if key in ('encoder.proj_out.weight', 'decoder.embed.weight') else value


@IMPORTERS.register_module(name='xqgan')
class XQGANImporter(TokenizerImporter):
    """XQ-GAN's, ImageFolder's and RobustTok's tokenizers with vision transformers."""

    read = staticmethod(import_tokenizer)
