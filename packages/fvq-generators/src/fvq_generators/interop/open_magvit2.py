"""Open-MAGVIT2's generators (`AR_256_B.ckpt`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of
from .ibq import multiple
from .llamagen import joined_gates

BLOCKS = {'spatial_blocks': 'blocks', 'factorized_blocks': 'inner_blocks'}
RULES: Rules = (
    (r'pre_emb\.weight', 'first_embedding.weight'),
    (r'post_emb\.weight', 'second_embedding.weight'),
    (r'class_emb\.embedding_table\.weight', 'condition.table.weight'),
    *(
        rule
        for theirs, ours in BLOCKS.items()
        for rule in (
            (rf'{theirs}\.(\d+)\.attention\.wqkv\.weight', rf'{ours}.\1.attention.qkv.weight'),
            (rf'{theirs}\.(\d+)\.attention\.wo\.weight', rf'{ours}.\1.attention.out.weight'),
            (rf'{theirs}\.(\d+)\.(attention|ffn)_norm\.weight', rf'{ours}.\1.\2_norm.weight'),
            (rf'{theirs}\.(\d+)\.feed_forward\.w2\.weight', rf'{ours}.\1.ffn.out.weight'),
            (rf'{theirs}\.(\d+)\.feed_forward\.gate_up\.weight', rf'{ours}.\1.ffn.gate_up.weight'),
        )
    ),
    (r'norm\.weight', 'norm.weight'),
    (r'head\.0\.weight', 'head.weight'),
    (r'head\.1\.weight', 'second_head.weight'),
)
NOT_WEIGHTS = (r'\w+_blocks\.\d+\.attention\.kv_cache\..*', r'freqs_cis', r'causal_mask')
HEADS = {1024: 16, 1280: 20, 1536: 24}
SAMPLING: dict[int, dict[str, Any]] = {
    1024: dict(cfg_scale=1.9, second_cfg_scale=2.0),
    1280: dict(cfg_scale=1.9, second_cfg_scale=1.9, temperature=1.1),
    1536: dict(cfg_scale=1.75, second_cfg_scale=1.85, temperature=1.1),
}


def import_open_magvit2(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `OpenMAGVIT2Transformer` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes, which no file holds; 16 x 16 by default.
        cond_dropout: Condition dropout in training.

    Raises:
        UserError: Another layout of keys, or heads that are not known or do not fit.
    """
    if 'pre_emb.weight' not in state or 'factorized_blocks.0.attention.wqkv.weight' not in state:
        raise LayoutError('Open-MAGVIT2: not a generator in its layout: no pre_emb.weight or factorized_blocks.')
    (first, D), second = state['pre_emb.weight'].shape, len(state['post_emb.weight'])
    height, width = grid or (16, 16)
    config = dict(
        type='OpenMAGVIT2Transformer',
        layout=dict(type='Grid', height=height, width=width, codebook_size=first * second),
        factors=(first, second),
        dim=D,
        depth=depth_of(state, 'spatial_blocks'),
        inner_depth=depth_of(state, 'factorized_blocks'),
        heads=heads_of('Open-MAGVIT2', D, heads, HEADS),
        **multiple(D, len(state['spatial_blocks.0.feed_forward.w1.weight'])),
        num_classes=len(state['class_emb.embedding_table.weight']) - 1,
        cond_dropout=cond_dropout,
    )
    return config, rename(joined_gates(state), RULES, 'Open-MAGVIT2', NOT_WEIGHTS)


@IMPORTERS.register_module(name='open-magvit2-gpt')
class OpenMAGVIT2TransformerImporter(GeneratorImporter):
    """Open-MAGVIT2's generators."""

    read = staticmethod(import_open_magvit2)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        return SAMPLING.get(model.head.in_features, {})
