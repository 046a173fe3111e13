"""MaskGIT's transformer: the flax parameters of `maskgit_imagenet256_checkpoint`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of

WORDS, BIAS = 'Embed_0/word_embeddings/embedding', 'MlmLayer_0/mlm_bias/bias'
BLOCK, ATTENTION = r'TransformerLayer_(\d+)', r'TransformerLayer_(\d+)/Attention_0/self_attention'
NORM = {'scale': 'weight', 'bias': 'bias'}
LINEAR = {'kernel': 'weight', 'bias': 'bias'}
RULES: Rules = (
    ('Embed_0/position_embeddings/embedding', 'network.positions'),
    *((rf'Embed_0/embeddings_ln/{theirs}', f'network.norm.{ours}') for theirs, ours in NORM.items()),
    *((rf'{ATTENTION}/(qkv|out)/{theirs}', rf'network.blocks.\1.attention.\2.{ours}') for theirs, ours in LINEAR.items()),
    *(
        (rf'{BLOCK}/{theirs}/{part}', rf'network.blocks.\1.{ours}.{kind[part]}')
        for theirs, ours, kind in (
            ('Attention_0/attention_output_ln', 'attention_norm', NORM),
            ('Mlp_0/intermediate_output', 'ffn.inner', LINEAR),
            ('Mlp_0/layer_output', 'ffn.outer', LINEAR),
            ('Mlp_0/layer_output_ln', 'ffn_norm', NORM),
        )
        for part in kind
    ),
    *((rf'MlmLayer_0/mlm_dense/{theirs}', f'network.transform.{ours}') for theirs, ours in LINEAR.items()),
    *((rf'MlmLayer_0/mlm_ln/{theirs}', f'network.transform_norm.{ours}') for theirs, ours in NORM.items()),
    (r'codes', 'codes.table.weight'),
    (r'classes', 'condition.table.weight'),
    (r'head', 'head.bias'),
)  # fmt: skip


def import_maskgit(
    state: Mapping[str, Tensor], num_classes: int = 1000, grid: tuple[int, int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MaskGIT` from the original's parameters by path.

    Its one vocabulary holds codes, classes and, last, the mask; ours are tables of their own. The head has a bias for each of
    the vocabulary, of which only those of codes are ever read.

    Args:
        state: Arrays by path, such as `params/Embed_0/...`.
        num_classes: Classes, which no file tells from codes.
        grid: Rows and columns of the codes; a square by default.

    Raises:
        UserError: Another layout, or numbers that do not fit.
    """
    state = {key.removeprefix('params/'): value for key, value in state.items()}
    if WORDS not in state or BIAS not in state:
        raise LayoutError(f"not MaskGIT's transformer: no {WORDS} or {BIAS} among the parameters.")
    words_VD, positions = state.pop(WORDS), len(state['Embed_0/position_embeddings/embedding']) - 1
    K = len(words_VD) - num_classes - 1
    side = math.isqrt(positions)
    height, width = grid or (side, side)
    if K < 1 or height * width != positions:
        raise UserError(
            f'MaskGIT: {len(words_VD)} words with {num_classes} classes and {positions} positions on a grid {height} x {width} '
            'do not fit; give other numbers (--grid).'
        )
    heads = state['TransformerLayer_0/Attention_0/self_attention/query/kernel'].shape[1]
    config = dict(
        type='MaskGIT',
        layout=dict(type='Grid', height=height, width=width, codebook_size=K),
        network=dict(
            type='BERT',
            dim=words_VD.shape[1],
            depth=depth_of((key.replace('Layer_', 'Layer.').replace('/', '.') for key in state), 'TransformerLayer'),
            heads=heads,
            width=state['TransformerLayer_0/Mlp_0/intermediate_output/kernel'].shape[1],
        ),
        num_classes=num_classes,
        cond_dropout=0.0,
        tied_head=True,
    )
    state['codes'] = torch.cat([words_VD[:K], words_VD[-1:]])
    state['classes'], state['head'] = words_VD[K:-1], state.pop(BIAS)[:K]
    return config, rename(as_torch(state), RULES, 'MaskGIT')


def as_torch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels as matrices (out, in), and those of queries, keys and values as one."""
    found = {}
    for key, value in state.items():
        path, _, part = key.rpartition('/')
        name = path.rpartition('/')[2]
        if name == 'query':
            attention = path.removesuffix('query')
            each = [state[f'{attention}{kind}/{part}'] for kind in ('query', 'key', 'value')]
            joined = [one.flatten(-2) for one in each]  # (D, heads, head_dim) or (heads, head_dim)
            found[f'{attention}qkv/{part}'] = torch.cat([one.T if part == 'kernel' else one for one in joined])
        elif name not in ('key', 'value'):
            if part == 'kernel':
                value = (value.flatten(0, 1) if value.dim() == 3 else value).T.contiguous()
            found[key] = value
    return found


def read_flax(path: Path) -> Any:
    """What a flax file holds, as the importer of MaskGIT's tokenizer in fvq-quantizers reads it."""
    return IMPORTERS.resolve('maskgit-vq').read_file(path)


@IMPORTERS.register_module(name='maskgit')
class MaskGITTransformerImporter(GeneratorImporter):
    """MaskGIT's transformer."""

    read = staticmethod(import_maskgit)
    read_file = staticmethod(read_flax)
