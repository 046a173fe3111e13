"""Second stages of enhancing-transformers, an unofficial ViT-VQGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of
from .min_gpt import joined

RULES: Rules = (
    (r'tok_emb_cond\.weight', 'condition.table.weight'),
    (r'tok_emb_code\.weight', 'code_embedding.weight'),
    (r'pos_emb_cond', 'condition_position_embedding'),
    (r'pos_emb_code', 'position_embedding'),
    (r'blocks\.(\d+)\.ln1\.(weight|bias)', r'blocks.\1.attention_norm.\2'),
    (r'blocks\.(\d+)\.ln2\.(weight|bias)', r'blocks.\1.ffn_norm.\2'),
    (r'blocks\.(\d+)\.attn\.time_mix', r'blocks.\1.token_shift.mix_D'),
    (r'blocks\.(\d+)\.attn\.qkv\.(weight|bias)', r'blocks.\1.attention.qkv.\2'),
    (r'blocks\.(\d+)\.attn\.proj\.(weight|bias)', r'blocks.\1.attention.out.\2'),
    (r'blocks\.(\d+)\.mlp\.p0\.(weight|bias)', r'blocks.\1.ffn.0.\2'),
    (r'blocks\.(\d+)\.mlp\.p1\.(weight|bias)', r'blocks.\1.ffn.2.\2'),
    (r'layer_norm\.(weight|bias)', r'norm.\1'),
    (r'head\.weight', 'head.weight'),
)
HEADS: dict[int, int] = {}  # no weights were released


def import_vitvq(
    state: Mapping[str, Tensor], heads: int | None = None, grid: tuple[int, int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `ViTVQTransformer` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds.
        grid: Rows and columns of the codes; by default a square.

    Raises:
        UserError: Another layout of keys, or heads that are not given or do not fit.
    """
    if 'tok_emb_code.weight' not in state or 'blocks.0.attn.time_mix' not in state:
        raise LayoutError('ViT-VQ: not a second stage of enhancing-transformers: no tok_emb_code.weight or time_mix.')
    V, D = state['tok_emb_code.weight'].shape
    side = round(state['pos_emb_code'].shape[1] ** 0.5)
    height, width = grid or (side, side)
    config = dict(
        type='ViTVQTransformer',
        layout=dict(type='Grid', height=height, width=width, codebook_size=V),
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('ViT-VQ', D, heads, HEADS),
        num_classes=len(state['tok_emb_cond.weight']),
        condition_tokens=state['pos_emb_cond'].shape[1],
        attention_bias='blocks.0.attn.proj.bias' in state,
        ffn_bias='blocks.0.mlp.p0.bias' in state,
    )
    own = {
        key: value[0] if key.startswith('pos_emb') else value.flatten() if key.endswith('time_mix') else value
        for key, value in joined(state).items()
    }
    return config, rename(own, RULES, 'ViT-VQ', drop=(r'blocks\.\d+\.attn\.mask', r'mask'))


@IMPORTERS.register_module(name='vitvq-gpt')
class ViTVQTransformerImporter(GeneratorImporter):
    """Second stages of enhancing-transformers."""

    read = staticmethod(import_vitvq)
