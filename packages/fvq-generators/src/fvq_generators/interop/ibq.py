"""IBQ's generators (`AR_256_B.ckpt`, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of
from .llamagen import feed_forward, joined_gates

RULES: Rules = (
    (r'tok_emb\.weight', 'code_embedding.weight'),
    (r'class_emb\.embedding_table\.weight', 'condition.table.weight'),
    (r'blocks\.(\d+)\.attention\.wqkv\.weight', r'blocks.\1.attention.qkv.weight'),
    (r'blocks\.(\d+)\.attention\.wo\.weight', r'blocks.\1.attention.out.weight'),
    (r'blocks\.(\d+)\.(attention|ffn)_norm\.weight', r'blocks.\1.\2_norm.weight'),
    (r'blocks\.(\d+)\.feed_forward\.w2\.weight', r'blocks.\1.ffn.out.weight'),
    (r'blocks\.(\d+)\.feed_forward\.gate_up\.weight', r'blocks.\1.ffn.gate_up.weight'),
    (r'blocks\.(\d+)\.ada_lin\.1\.(weight|bias)', r'blocks.\1.modulation.linear.\2'),
    (r'head_nm\.rmsnorm\.weight', 'norm.norm.weight'),
    (r'head_nm\.ada_lin\.1\.(weight|bias)', r'norm.modulation.linear.\1'),
    (r'head\.weight', 'head.weight'),
)
# What sampling leaves in a state dict of theirs.
NOT_WEIGHTS = (r'blocks\.\d+\.attention\.kv_cache\..*', r'freqs_cis', r'causal_mask')
HEADS = {1024: 16, 1280: 20, 1536: 24, 1920: 30}
SAMPLING: dict[int, dict[str, Any]] = {
    1024: dict(cfg_scale=2.25, temperature=1.1),
    1280: dict(cfg_scale=2.0, temperature=1.0),
    1536: dict(cfg_scale=2.35, temperature=1.15),
    1920: dict(cfg_scale=2.85, temperature=1.2),
}


def import_ibq(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `IBQTransformer` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes, which no file holds; 16 x 16 by default.
        cond_dropout: Condition dropout in training.

    Raises:
        UserError: Another layout of keys, heads that are not known or do not fit, or norms that blocks share.
    """
    if 'tok_emb.weight' not in state or 'head_nm.rmsnorm.weight' not in state:
        raise LayoutError('IBQ: not a generator in the layout of IBQ: no tok_emb.weight or head_nm.rmsnorm.weight.')
    if 'blocks.0.ada_lin.1.weight' not in state:
        raise UserError('IBQ: no blocks.0.ada_lin.1.weight: blocks that share their adaptive norms cannot be imported.')
    V, D = state['tok_emb.weight'].shape
    height, width = grid or (16, 16)
    config = dict(
        type='IBQTransformer',
        layout=dict(type='Grid', height=height, width=width, codebook_size=V),
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('IBQ', D, heads, HEADS),
        **multiple(D, len(state['blocks.0.feed_forward.w1.weight'])),
        num_classes=len(state['class_emb.embedding_table.weight']) - 1,
        cond_dropout=cond_dropout,
    )
    return config, rename(joined_gates(state), RULES, 'IBQ', NOT_WEIGHTS)


def multiple(dim: int, width: int) -> dict[str, Any]:
    """The argument that gives this feed-forward width; none for the released rule."""
    found = feed_forward(dim, width)
    if 'hidden_factor' in found:
        raise UserError(f'IBQ: no rule gives a feed-forward layer of {width} for {dim} channels.')
    return found


@IMPORTERS.register_module(name='ibq-gpt')
class IBQTransformerImporter(GeneratorImporter):
    """IBQ's generators."""

    read = staticmethod(import_ibq)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        return SAMPLING.get(model.head.in_features, {})
