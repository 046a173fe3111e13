"""Halton-MaskGIT's transformers (`ImageNet_256_base.pth`, ...)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of
from .llamagen import feed_forward

LAYER = r'transformer\.layers\.(\d+)'
RULES: Rules = (
    (r'tok_emb\.weight', 'codes.table.weight'),
    (r'cls_emb\.weight', 'condition.table.weight'),
    (r'pos_emb\.weight', 'network.positions'),
    (r'reg_tokens\.weight', 'network.registers'),
    (rf'{LAYER}\.mlp\.1\.(.*)', r'network.blocks.\1.modulation.linear.\2'),
    (rf'{LAYER}\.ln1\.weight', r'network.blocks.\1.attention_norm.weight'),
    (rf'{LAYER}\.ln2\.weight', r'network.blocks.\1.ffn_norm.weight'),
    (rf'{LAYER}\.attn\.wqkv\.weight', r'network.blocks.\1.attention.qkv.weight'),
    (rf'{LAYER}\.attn\.wo\.weight', r'network.blocks.\1.attention.out.weight'),
    (rf'{LAYER}\.ff\.w13\.weight', r'network.blocks.\1.ffn.gate_up.weight'),
    (rf'{LAYER}\.ff\.w2\.weight', r'network.blocks.\1.ffn.out.weight'),
    (r'last_norm\.norm_final\.(.*)', r'network.norm.norm.\1'),
    (r'last_norm\.mlp\.1\.(.*)', r'network.norm.modulation.linear.\1'),
    (r'in_proj\.weight', 'network.merge_in.weight'),
    (r'out_proj\.weight', 'network.merge_out.weight'),
    (r'head\.bias', 'head.bias'),
)
HEADS = {384: 6, 512: 6, 768: 12, 1024: 16, 1152: 16}
PREFIXES = re.compile(r'^(?:module\.|_orig_mod\.)+')
# Theirs are shift, scale and gate of attention, then of the feed-forward layer; the last norm's shift and scale.
ORDERS = {6: (2, 5, 1, 4, 0, 3), 2: (1, 0)}
JOINED = {'attn.wq': ('wqkv', 'wk', 'wv'), 'ff.w1': ('w13', 'w3')}
FOLLOW = r'\.(attn\.w[kv]|ff\.w3)\.weight$'


def import_halton(
    state: Mapping[str, Tensor], heads: int | None = None, grid: tuple[int, int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MaskGIT` from Halton-MaskGIT's.

    Args:
        state: The peer's state dict.
        heads: Attention heads, which no file holds; those of the published size by default.
        grid: Rows and columns of the codes; a square by default.

    Raises:
        UserError: Another layout of keys, or numbers that do not fit.
    """
    state = {PREFIXES.sub('', key): value for key, value in state.items()}
    if 'tok_emb.weight' not in state or 'last_norm.norm_final.weight' not in state:
        raise LayoutError('not a transformer of Halton-MaskGIT: no tok_emb.weight or last_norm.norm_final.weight.')
    rows, dim = state['tok_emb.weight'].shape
    heads = HEADS.get(dim) if heads is None else heads
    width = len(state['transformer.layers.0.attn.wq.weight'])
    if heads is None or heads < 1 or heads * (dim // heads) != width:
        got = 'none of the published sizes has so many' if heads is None else f'got {heads}'
        raise UserError(f'Halton-MaskGIT: no file says how many heads {dim} channels have; {got} (--heads).')
    positions = len(state['pos_emb.weight'])
    side = math.isqrt(positions)
    height, columns = grid or (side, side)
    if height * columns != positions:
        raise UserError(
            f'Halton-MaskGIT: {positions} positions are no grid {height} x {columns}; give another (--grid).'
        )
    state.pop('head.weight', None)  # the codes' table
    merge = 'in_proj.weight' in state
    if merge:  # convolutions
        state['in_proj.weight'] = state['in_proj.weight'].flatten(1)
        state['out_proj.weight'] = state['out_proj.weight'].flatten(1)
    config = dict(
        type='MaskGIT',
        layout=dict(type='Grid', height=height, width=columns, codebook_size=rows - 1),
        network=dict(
            type='ModulatedTransformer',
            dim=dim,
            depth=depth_of(state, 'transformer.layers'),
            heads=heads,
            registers=len(state.get('reg_tokens.weight', ())),
            **(dict(merge=True) if merge else {}),
            **feed_forward(dim, len(state['transformer.layers.0.ff.w1.weight'])),
        ),
        num_classes=len(state['cls_emb.weight']) - 1,
        tied_head=True,
        mask_output=True,
        mask_schedule='arccos',
        mask_each=True,
        unmasked_weight=1.0,
        label_smoothing=0.0,
    )
    return config, rename(joined(state), RULES, 'Halton-MaskGIT')


def joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the maps that we have as one joined, and the modulations in our order."""
    found = {}
    for key, value in state.items():
        match = re.fullmatch(r'(.*\.)(attn\.wq|ff\.w1)\.weight', key)
        if match:
            name, *others = JOINED[match[2]]
            room = f'{match[1]}{match[2].split(".")[0]}.'
            found[f'{room}{name}.weight'] = torch.cat([value, *(state[f'{room}{other}.weight'] for other in others)])
        elif '.mlp.1.' in key:
            parts = 2 if key.startswith('last_norm') else 6
            chunks = value.chunk(parts)
            found[key] = torch.cat([chunks[number] for number in ORDERS[parts]])
        elif not re.search(FOLLOW, key):
            found[key] = value
    return found


@IMPORTERS.register_module(name='halton-maskgit')
class HaltonImporter(GeneratorImporter):
    """Halton-MaskGIT's class-conditional transformers."""

    read = staticmethod(import_halton)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID of the base model; its w = 0.7 means c + w (c - u)."""
        return dict(order='halton', steps=32, cfg_scale=1.7)
