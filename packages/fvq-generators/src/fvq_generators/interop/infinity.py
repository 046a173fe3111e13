"""Infinity's text-to-image transformers (`infinity_2b_reg.pth`), and what their training saves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of
from .var import squeezed

BLOCK, W = r'blocks\.(\d+)\.', r'(weight|bias)'
RULES: Rules = (
    (r'cfg_uncond', 'condition.unconditional_TC'),
    (r'text_norm\.weight', 'condition.norm.weight'),
    (r'text_proj_for_sos\.ca\.mat_q', 'condition.pool.query'),
    (r'text_proj_for_sos\.ca\.mat_kv\.weight', 'condition.pool.kv.weight'),
    (r'text_proj_for_sos\.ca\.v_bias', 'condition.pool.v_bias'),
    (rf'text_proj_for_sos\.ca\.proj\.{W}', r'condition.pool.out.\1'),
    (rf'text_proj_for_ca\.0\.{W}', r'condition.inner.\1'),
    (rf'text_proj_for_ca\.2\.{W}', r'condition.outer.\1'),
    (rf'word_embed\.{W}', r'code_embedding.\1'),
    (r'pos_start', 'start'),
    (r'lvl_embed\.weight', 'level_embedding'),
    (rf'shared_ada_lin\.1\.{W}', r'shared_modulation.linear.\1'),
    (BLOCK + r'ada_gss', r'blocks.\1.modulation.offset_PD'),
    (BLOCK + rf'ada_lin\.1\.{W}', r'blocks.\1.modulation.linear.\2'),
    (BLOCK + r'sa\.mat_qkv\.weight', r'blocks.\1.attention.qkv.weight'),
    (BLOCK + r'sa\.([qv]_bias)', r'blocks.\1.attention.\2'),
    (BLOCK + r'sa\.scale_mul_1H11', r'blocks.\1.attention.log_scale_H'),
    (BLOCK + rf'sa\.proj\.{W}', r'blocks.\1.attention.out.\2'),
    (BLOCK + rf'ca_norm\.{W}', r'blocks.\1.cross_norm.\2'),
    (BLOCK + rf'ca\.mat_q\.{W}', r'blocks.\1.cross_attention.q.\2'),
    (BLOCK + r'ca\.mat_kv\.weight', r'blocks.\1.cross_attention.kv.weight'),
    (BLOCK + r'ca\.v_bias', r'blocks.\1.cross_attention.v_bias'),
    (BLOCK + rf'ca\.proj\.{W}', r'blocks.\1.cross_attention.out.\2'),
    (BLOCK + rf'ffn\.fc1\.{W}', r'blocks.\1.ffn.inner.\2'),
    (BLOCK + rf'ffn\.fc2\.{W}', r'blocks.\1.ffn.outer.\2'),
    (rf'head_nm\.ada_lin\.1\.{W}', r'norm.modulation.linear.\1'),
    (rf'head\.{W}', r'head.\1'),
)
NOT_WEIGHTS = (r'.*\.zero_k_bias',)
SQUEEZED = re.compile(rf'pos_start|{BLOCK}(?:ada_gss|sa\.scale_mul_1H11)')
# A file that is read loses `module` in its names, as that of a wrapper.
CHUNK = re.compile(r'block_chunks\.(\d+)\.(?:module\.)?(\d+)\.')
# Of 1024 pixels; the first 10 are those of 512, the first 7 of 256.
SCALES = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)
NEEDED = ('cfg_uncond', 'text_norm.weight', 'word_embed.weight', 'lvl_embed.weight', 'head.weight')
SAMPLING = dict(cfg_scale=4.0, temperature=0.5, top_p=0.97)


def import_infinity(
    state: Mapping[str, Tensor], scales: Sequence[int] | None = None, cond_dropout: float = 0.1
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `Infinity` from a state dict of theirs.

    Args:
        state: The peer's state dict, whose blocks may lie in chunks.
        scales: Sides of the scales, which no file holds; by default those of 1024 pixels.
        cond_dropout: Condition dropout in training, which no file holds.

    Raises:
        UserError: Another layout of keys, or more scales than the file has embeddings of levels.
    """
    missing = [name for name in NEEDED if name not in state]
    if missing:
        raise LayoutError(f'Infinity: not a text-to-image model in the layout of Infinity: no {missing[0]}.')
    flat = {key: squeezed(value) if SQUEEZED.fullmatch(key) else value for key, value in unchunked(state).items()}
    sides, levels = list(scales or SCALES), flat['lvl_embed.weight']
    if len(sides) > len(levels):
        raise UserError(f'Infinity: the file has {len(levels)} levels, got {len(sides)} scales (--scales).')
    biased = [key for key in state if key.endswith('zero_k_bias') and state[key].count_nonzero()]
    if biased:
        raise UserError(f'Infinity: {biased[0]} is not zero; released files have zeros there.')
    D, bits = flat['word_embed.weight'].shape
    tokens, caption_dim = flat['cfg_uncond'].shape
    query_1HC = flat['text_proj_for_sos.ca.mat_q']
    config = dict(
        type='Infinity',
        layout=dict(type='Pyramid', scales=[(side, side) for side in sides], codebook_size=[2] * bits),
        dim=D,
        depth=depth_of(flat, 'blocks'),
        heads=flat['blocks.0.sa.scale_mul_1H11'].numel(),
        mlp_ratio=len(flat['blocks.0.ffn.fc1.weight']) / D,
        shared_modulation='shared_ada_lin.1.weight' in flat,
        rotary_grid=(SCALES[-1], SCALES[-1]),
        caption_dim=caption_dim,
        caption_tokens=tokens,
        pool_heads=query_1HC.shape[1],
        cond_dropout=cond_dropout,
    )
    flat |= {'lvl_embed.weight': levels[: len(sides)], 'text_proj_for_sos.ca.mat_q': query_1HC.flatten()}
    return config, rename(flat, RULES, 'Infinity', NOT_WEIGHTS)


def unchunked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`block_chunks.I.module.J.` as `blocks.N.`, with as many blocks in each chunk."""
    places = [(int(match[1]), int(match[2])) for key in state if (match := CHUNK.match(key))]
    each = 1 + max((inside for _, inside in places), default=0)
    return {CHUNK.sub(lambda m: f'blocks.{int(m[1]) * each + int(m[2])}.', key): value for key, value in state.items()}


@IMPORTERS.register_module(name='infinity')
class InfinityImporter(GeneratorImporter):
    """Infinity's text-to-image transformers, with the published settings of sampling."""

    read = staticmethod(import_infinity)

    @staticmethod
    def sampling(model: Generator) -> dict[str, Any]:
        return dict(SAMPLING)
