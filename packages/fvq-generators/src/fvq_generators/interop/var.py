"""VAR's transformers (`var_d16.pth`, ..., and what their training saves beside its tokenizer)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of

BLOCK = r'blocks\.(\d+)\.'
RULES: Rules = (
    (r'class_emb\.weight', 'condition.table.weight'),
    (r'word_embed\.(weight|bias)', r'code_embedding.\1'),
    (r'pos_start', 'start'),
    (r'pos_1LC', 'position_embedding'),
    (r'lvl_embed\.weight', 'level_embedding'),
    (r'shared_ada_lin\.1\.(weight|bias)', r'shared_modulation.linear.\1'),
    (BLOCK + r'ada_lin\.1\.(weight|bias)', r'blocks.\1.modulation.linear.\2'),
    (BLOCK + r'ada_gss', r'blocks.\1.modulation.offset_PD'),
    (BLOCK + r'attn\.mat_qkv\.weight', r'blocks.\1.attention.qkv.weight'),
    (BLOCK + r'attn\.([qv]_bias)', r'blocks.\1.attention.\2'),
    (BLOCK + r'attn\.scale_mul_1H11', r'blocks.\1.attention.log_scale_H'),
    (BLOCK + r'attn\.proj\.(weight|bias)', r'blocks.\1.attention.out.\2'),
    (BLOCK + r'ffn\.fc1\.(weight|bias)', r'blocks.\1.ffn.inner.\2'),
    (BLOCK + r'ffn\.fc2\.(weight|bias)', r'blocks.\1.ffn.outer.\2'),
    (r'head_nm\.ada_lin\.1\.(weight|bias)', r'norm.modulation.linear.\1'),
    (r'head\.(weight|bias)', r'head.\1'),
)
# Constants: the scale of each position, the mask, and zeros where the keys of other models have a bias.
LEVELS = 'lvl_1L'
NOT_WEIGHTS = (LEVELS, r'attn_bias_for_masking', BLOCK + r'attn\.zero_k_bias')
# Leading dimensions of 1 that the peer keeps.
SQUEEZED = re.compile(rf'pos_start|pos_1LC|{BLOCK}(?:ada_gss|attn\.scale_mul_1H11)')
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
HEAD_DIM = 64
# As published: its scale 1.5 of c + s (c - u) is ours of 2.5.
SAMPLING = dict(cfg_scale=2.5, cfg_schedule='linear', top_k=900, top_p=0.96)


def import_generator(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    scales: Sequence[int] | None = None,
    cond_dropout: float = 0.1,
    norm_eps: float = 1e-6,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `VAR` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which only a file with l2-normalised attention holds; by default 64 channels each.
        scales: The peer's `patch_nums`; by default those that its buffer `lvl_1L` tells, or else those of its 256-pixel models.
        cond_dropout: Condition dropout in training, which no file holds.
        norm_eps: Epsilon of the norms, which no file holds.

    Raises:
        UserError: Another layout of keys, scales that are not known, or sizes that do not fit.
    """
    if 'word_embed.weight' not in state or 'pos_1LC' not in state or 'head.weight' not in state:
        raise LayoutError('VAR: not a generator in the layout of VAR: no word_embed.weight, pos_1LC or head.weight.')
    D, code_dim = state['word_embed.weight'].shape
    (V, _), hidden = state['head.weight'].shape, len(state['blocks.0.ffn.fc1.weight'])
    sides = scales_of(state, scales)
    temperatures = state.get('blocks.0.attn.scale_mul_1H11')
    if temperatures is not None and heads not in (None, temperatures.numel()):
        raise UserError(f'VAR: the file has {temperatures.numel()} heads, got {heads}; leave --heads out.')
    heads = heads or (temperatures.numel() if temperatures is not None else max(1, D // HEAD_DIM))
    biased = [key for key in state if key.endswith('zero_k_bias') and state[key].count_nonzero()]
    if biased:
        raise UserError(f'VAR: {biased[0]} is not zero; released files have zeros there.')
    config = dict(
        type='VAR',
        layout=dict(type='Pyramid', scales=[(side, side) for side in sides], codebook_size=V),
        code_dim=code_dim,
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads,
        mlp_ratio=hidden / D,
        cosine=temperatures is not None,
        shared_modulation='shared_ada_lin.1.weight' in state,
        norm_eps=norm_eps,
        num_classes=len(state['class_emb.weight']) - 1,
        cond_dropout=cond_dropout,
    )
    flat = {key: squeezed(value) if SQUEEZED.fullmatch(key) else value for key, value in state.items()}
    return config, rename(flat, RULES, 'VAR', NOT_WEIGHTS)


def squeezed(value: Tensor) -> Tensor:
    """(1, L, D) or (1, 1, 6, D) without its leading ones, (1, H, 1, 1) as (H,)."""
    return value.flatten() if value.shape[-2:] == (1, 1) and value.dim() == 4 else value.reshape(value.shape[-2:])


def scales_of(state: Mapping[str, Tensor], scales: Sequence[int] | None) -> list[int]:
    """The sides of the scales, which must be as many positions as the file has."""
    length, count = state['pos_1LC'].shape[-2], len(state['lvl_embed.weight'])
    if scales is None and LEVELS in state:
        lengths = state[LEVELS].flatten().long().bincount(minlength=count).tolist()
        scales = [math.isqrt(positions) for positions in lengths]
    sides = list(scales or SCALES)
    if len(sides) != count or sum(side**2 for side in sides) != length:
        raise UserError(
            f'VAR: the file has {count} scales of {length} positions in all, which {sides} are not; pass them (--scales).'
        )
    return sides


@IMPORTERS.register_module(name='var-transformer')
class VARImporter(GeneratorImporter):
    """VAR's transformers, with the published settings of sampling."""

    read = staticmethod(import_generator)

    @staticmethod
    def sampling(model: Generator) -> dict[str, Any]:
        return dict(SAMPLING)
