"""RQ-Transformer's released checkpoints (`in256-rqtransformer-...`: `model.pt` beside `config.yaml`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of

BLOCK = r'(body|head)_transformer\.blocks\.(\d+)\.'
RULES: Rules = (
    (r'cond_emb\.weight', 'condition.table.weight'),
    (r'pos_emb_cond', 'condition_positions'),
    (r'pos_emb_hw', 'positions'),
    (r'pos_emb_d', 'depth_positions'),
    (r'input_mlp\.(weight|bias)', r'embedding.body_map.\1'),
    (r'head_mlp\.(weight|bias)', r'embedding.head_map.\1'),
    (r'tables\.(\d+)', r'embedding.tables.\1.weight'),
    (BLOCK + r'ln1\.(weight|bias)', r'\1.\2.attention_norm.\3'),
    (BLOCK + r'ln2\.(weight|bias)', r'\1.\2.ffn_norm.\3'),
    (BLOCK + r'attn\.qkv\.(weight|bias)', r'\1.\2.attention.qkv.\3'),
    (BLOCK + r'attn\.proj\.(weight|bias)', r'\1.\2.attention.out.\3'),
    (BLOCK + r'mlp\.(0|2)\.(weight|bias)', r'\1.\2.ffn.\3.\4'),
    (r'classifier\.layer_norm\.(weight|bias)', r'classifier.norm.\1'),
    (r'classifiers\.(\d+)\.(weight|bias)', r'classifier.maps.\1.\2'),
    (r'cond_classifier\.layer_norm\.(weight|bias)', r'text_norm.\1'),
    (r'cond_classifier\.linear\.(weight|bias)', r'text_classifier.\1'),
)
HEAD_CHANNELS = 64  # of all published sizes; no shape in a file tells it


def import_generator(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    vocabularies: list[int] | None = None,
    cumulative: bool = True,
    text_weight: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `RQTransformer` from a state dict of theirs.

    Args:
        state: The peer's state dict, without the tokenizer's.
        heads: Heads of attention, which no file holds; by default of 64 channels, as published.
        grid: Rows and columns of the positions, which no file holds; by default a square.
        vocabularies: Codes of each depth, if they differ; no file holds them.
        cumulative: The config's `cumsum_depth_ctx`.
        text_weight: Weight of the text in the loss of a model of text.

    Raises:
        UserError: Another layout of keys, or sizes that do not fit.
    """
    if 'pos_emb_d' not in state or 'classifier.linear.weight' not in state:
        raise LayoutError('RQ-Transformer: no pos_emb_d or classifier.linear.weight in this file.')
    _, slots, dim = state['pos_emb_d'].shape
    places, classifier = state['pos_emb_hw'].shape[1], state['classifier.linear.weight']
    if heads is not None and (heads < 1 or dim % heads):
        raise UserError(f'RQ-Transformer: {heads} heads do not divide {dim} channels; give a divisor (--heads).')
    height, width = grid or (math.isqrt(places),) * 2
    if height * width != places:
        raise UserError(
            f'RQ-Transformer: {places} positions are not {height} x {width}; give rows and columns (--grid).'
        )
    shared = classifier.dim() == 2
    sizes = list(vocabularies or [len(classifier) if shared else classifier.shape[2]] * slots)
    if len(sizes) != slots:
        raise UserError(f'RQ-Transformer: {slots} depths need as many vocabularies, got {sizes}.')
    maps = [state.get(f'{name}_mlp.weight') for name in ('input', 'head')]
    code_dims = [weight.shape[1] for weight in maps if weight is not None]
    tables = state.get('tok_emb.weight')
    config: dict[str, Any] = dict(
        type='RQTransformer',
        layout=dict(type='Grid', height=height, width=width, codebook_size=sizes if slots > 1 else sizes[0]),
        dim=dim,
        depth=depth_of(state, 'body_transformer.blocks'),
        head_depth=depth_of(state, 'head_transformer.blocks'),
        heads=heads or max(1, dim // HEAD_CHANNELS),
        num_classes=len(state['cond_emb.weight']),
        text_tokens=state['pos_emb_cond'].shape[1],
        text_weight=text_weight,
        shared_classifier=shared,
        cumulative=cumulative,
        **(dict(code_dim=code_dims[0]) if code_dims else {}),
        **{name: 'table' for name, weight in zip(('body_input', 'head_input'), maps, strict=True) if weight is None},
        **({} if tables is None else dict(shared_table='tok_emb.offsets' not in state)),
    )
    return config, rename(ours(state, sizes, shared), RULES, 'RQ-Transformer', (r'tok_emb\.offsets',))


def ours(state: Mapping[str, Tensor], sizes: list[int], shared: bool) -> dict[str, Tensor]:
    """The state dict with queries, keys and values as one matrix, and a table and a classifier for each depth."""
    made: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith('pos_emb_'):
            made[key] = value[0]
        elif '.attn.query.' in key:
            names = [key.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
            missing = [name for name in names if name not in state]
            if missing:
                raise UserError(f'RQ-Transformer: {key} is there without {missing[0]}; this file is not whole.')
            made[key.replace('.query.', '.qkv.')] = torch.cat([state[name] for name in names])
        elif '.attn.key.' in key or '.attn.value.' in key:
            continue
        elif key == 'tok_emb.weight':
            apart = value.split(sizes) if 'tok_emb.offsets' in state else [value]
            made |= {f'tables.{depth}': table for depth, table in enumerate(apart)}
        elif key.startswith('classifier.linear.'):
            kind = key.rsplit('.', 1)[1]
            if shared:
                made[f'classifiers.0.{kind}'] = value
            else:
                for depth, (each, size) in enumerate(zip(value.unbind(), sizes, strict=True)):
                    made[f'classifiers.{depth}.{kind}'] = (
                        each[..., :size].T.contiguous() if kind == 'weight' else each[:size]
                    )
        else:
            made[key] = value
    return made


@IMPORTERS.register_module(name='rq-transformer')
class RQTransformerImporter(GeneratorImporter):
    """RQ-Transformer's generators."""

    read = staticmethod(import_generator)

    @staticmethod
    def sampling(model: Generator) -> dict[str, Any]:
        return dict(top_p=0.92)
