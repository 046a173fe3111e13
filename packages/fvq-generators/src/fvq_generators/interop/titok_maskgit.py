"""TiTok's generators (`generator_titok_l32.bin`, `b64`, `s128`): ImageBert and UViT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules

HEADS = {768: 16, 1024: 16}
BERT_LAYER = r'encoder\.layer\.(\d+)'
BERT_RULES: Rules = (
    (r'positions', 'network.positions'),
    (r'embeddings\.LayerNorm\.(.*)', r'network.norm.\1'),
    (rf'{BERT_LAYER}\.attention\.self\.qkv\.(.*)', r'network.blocks.\1.attention.qkv.\2'),
    (rf'{BERT_LAYER}\.attention\.output\.dense\.(.*)', r'network.blocks.\1.attention.out.\2'),
    (rf'{BERT_LAYER}\.attention\.output\.LayerNorm\.(.*)', r'network.blocks.\1.attention_norm.\2'),
    (rf'{BERT_LAYER}\.intermediate\.dense\.(.*)', r'network.blocks.\1.ffn.inner.\2'),
    (rf'{BERT_LAYER}\.output\.dense\.(.*)', r'network.blocks.\1.ffn.outer.\2'),
    (rf'{BERT_LAYER}\.output\.LayerNorm\.(.*)', r'network.blocks.\1.ffn_norm.\2'),
)
UVIT_RULES: Rules = (
    (r'positions', 'network.positions'),
    (r'norm\.(.*)', r'network.norm.\1'),
    *timm_rules('blocks', 'network.blocks'),
    (r'blocks\.(\d+)\.skip_linear\.(.*)', r'network.blocks.\1.skip.\2'),
)
BOTH: Rules = (
    (r'codes', 'codes.table.weight'),
    (r'classes', 'condition.table.weight'),
    (r'lm_head\.(.*)', r'head.\1'),
)
TITOK = dict(mask_schedule='arccos', unmasked_weight=0.1)
# Of the published FIDs, by the number of tokens. Guidance was c + s (c - u) if constant or linear; ours is u + s (c - u).
SAMPLING: dict[int, dict[str, Any]] = {
    32: dict(steps=8, cfg_scale=5.5, cfg_schedule='linear', choice_temperature=9.5),
    64: dict(steps=8, cfg_scale=4.0, cfg_schedule='linear', choice_temperature=11.0),
    128: dict(steps=64, cfg_scale=6.9, cfg_schedule='cosine', cfg_power=3.0, choice_temperature=2.8),
}


def import_titok(state: Mapping[str, Tensor], heads: int | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MaskGIT` from a generator of TiTok.

    Args:
        state: The peer's state dict.
        heads: Attention heads, which no file holds; 16 by default.

    Raises:
        UserError: Another layout of keys, or heads that do not divide.
    """
    state = {key.removeprefix('model.'): value for key, value in state.items()}
    bert = 'embeddings.word_embeddings.weight' in state
    words = 'embeddings.word_embeddings.weight' if bert else 'embeddings.weight'
    if words not in state or 'lm_head.weight' not in state:
        raise LayoutError(f'not a generator of TiTok: no lm_head.weight or {words}.')
    words_VD, K = state.pop(words), len(state['lm_head.weight'])
    state['codes'], state['classes'] = words_VD[: K + 1], words_VD[K + 1 :]
    dim = words_VD.shape[1]
    network = dict(dim=dim, heads=heads_of('TiTok', dim, heads, HEADS))
    if bert:
        state.pop('embeddings.position_ids', None)
        # All tokens are of type 0, whose vector is part of every position.
        types_TD = state.pop('embeddings.token_type_embeddings.weight')
        state['positions'] = state.pop('embeddings.position_embeddings.weight') + types_TD[0]
        state, rules = joined(state), BERT_RULES
        network |= dict(type='BERT', depth=depth_of(state, 'encoder.layer'), gelu='none', transform=False)
        network |= dict(width=len(state['encoder.layer.0.intermediate.dense.weight']))
    else:
        state['positions'] = state.pop('pos_embed')[0]
        half = depth_of(state, 'in_blocks')
        state, rules = in_one_row(state, half), UVIT_RULES
        network |= dict(type='UViT', depth=2 * half, width=len(state['blocks.0.mlp.fc1.weight']))
    config = dict(
        type='MaskGIT',
        layout=dict(type='Sequence', length=len(state['positions']) - 1, codebook_size=K),
        network=network,
        num_classes=len(state['classes']) - 1,
        **TITOK,
    )
    return config, rename(state, (*rules, *BOTH), 'TiTok')


def joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with queries, keys and values of each layer as one map."""
    found = {}
    for key, value in state.items():
        match = re.fullmatch(r'(.*\.attention\.self\.)(query|key|value)\.(weight|bias)', key)
        if match is None:
            found[key] = value
        elif match[2] == 'query':
            found[f'{match[1]}qkv.{match[3]}'] = torch.cat(
                [state[f'{match[1]}{part}.{match[3]}'] for part in ('query', 'key', 'value')]
            )
    return found


def in_one_row(state: Mapping[str, Tensor], half: int) -> dict[str, Tensor]:
    """The state dict with the blocks of a UViT numbered in the order they run."""
    found = {}
    for key, value in state.items():
        key = re.sub(r'^in_blocks\.', 'blocks.', key)
        key = re.sub(r'^mid_block\.', f'blocks.{half}.', key)
        key = re.sub(r'^out_blocks\.(\d+)\.', lambda match: f'blocks.{half + 1 + int(match[1])}.', key)
        found[key] = value
    return found


@IMPORTERS.register_module(name='titok-maskgit')
class TiTokGeneratorImporter(GeneratorImporter):
    """TiTok's generators."""

    read = staticmethod(import_titok)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        annealed = dict(choice='logit', temperature=1.3, final_temperature=0.5)
        return annealed | SAMPLING.get(model.layout.length, {})
