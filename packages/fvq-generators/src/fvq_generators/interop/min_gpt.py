"""Second stages of taming-transformers, minGPT (`2021-04-03T19-39-50_cin_transformer`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of

RULES: Rules = (
    (r'tok_emb\.weight', 'code_embedding.weight'),
    (r'pos_emb', 'position_embedding'),
    (r'blocks\.(\d+)\.ln1\.(weight|bias)', r'blocks.\1.attention_norm.\2'),
    (r'blocks\.(\d+)\.ln2\.(weight|bias)', r'blocks.\1.ffn_norm.\2'),
    (r'blocks\.(\d+)\.attn\.qkv\.(weight|bias)', r'blocks.\1.attention.qkv.\2'),
    (r'blocks\.(\d+)\.attn\.proj\.(weight|bias)', r'blocks.\1.attention.out.\2'),
    (r'blocks\.(\d+)\.mlp\.([02])\.(weight|bias)', r'blocks.\1.ffn.\2.\3'),
    (r'ln_f\.(weight|bias)', r'norm.\1'),
    (r'head\.weight', 'head.weight'),
)
HEADS = {1536: 24, 1664: 16}
PARTS = ('query', 'key', 'value')


def import_min_gpt(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    num_classes: int | None = 1000,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MinGPT` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes, which no file holds; 16 x 16 by default.
        num_classes: Classes, but no more than codes, whose rows they share; None for a model that starts from code 0.

    Raises:
        UserError: Another layout of keys, heads that are not known or do not fit, or a mask that is not causal.
    """
    if 'tok_emb.weight' not in state or 'pos_emb' not in state or 'blocks.0.attn.query.weight' not in state:
        raise LayoutError(
            'minGPT: not a transformer in the layout of taming-transformers: no tok_emb.weight or pos_emb.'
        )
    V, D = state['tok_emb.weight'].shape
    height, width = grid or (16, 16)
    positions = state['pos_emb'].shape[1]
    mask = state.get('blocks.0.attn.mask')
    if mask is not None and mask.triu(1).any():
        raise UserError(
            'minGPT: the first positions of this model see each other (n_unmasked); only causal models can be imported.'
        )
    config = dict(
        type='MinGPT',
        layout=dict(type='Grid', height=height, width=width, codebook_size=V),
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('minGPT', D, heads, HEADS),
        num_classes=None if num_classes is None else min(num_classes, V),
        **({} if positions == height * width else dict(positions=positions)),
    )
    own = {**joined(state), 'pos_emb': state['pos_emb'][0]}
    return config, rename(own, RULES, 'minGPT', drop=(r'blocks\.\d+\.attn\.mask',))


def import_unconditional(
    state: Mapping[str, Tensor], heads: int | None = None, grid: tuple[int, int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """See `import_min_gpt`."""
    return import_min_gpt(state, heads, grid, num_classes=None)


def joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with query, key and value of each block as one matrix."""
    found = {}
    for key, value in state.items():
        block, attention, rest = key.partition('.attn.')
        name, _, kind = rest.partition('.')
        if not attention or name not in PARTS:
            found[key] = value
        elif name == 'query':
            parts = [state.get(f'{block}.attn.{part}.{kind}') for part in PARTS]
            if any(part is None for part in parts):
                raise UserError(f'minGPT: {key} is there without its key or value; this file is not whole.')
            found[f'{block}.attn.qkv.{kind}'] = torch.cat([part for part in parts if part is not None])
    return found


@IMPORTERS.register_module(name='taming-gpt')
class MinGPTImporter(GeneratorImporter):
    """Class-conditional transformers of taming-transformers."""

    read = staticmethod(import_min_gpt)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the README, for the model of ImageNet."""
        return dict(top_k=600, top_p=0.92) if model.head.in_features == 1536 else {}


@IMPORTERS.register_module(name='taming-gpt-unconditional')
class UnconditionalMinGPTImporter(GeneratorImporter):
    """Unconditional transformers of taming-transformers, such as those of CelebA-HQ and FFHQ."""

    read = staticmethod(import_unconditional)
