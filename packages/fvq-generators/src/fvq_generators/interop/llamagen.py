"""LlamaGen's generator checkpoints (`c2i_B_256.pt`, ..., `t2i_XL_stage1_256.pt`), which FVQ's share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of

UNCONDITIONAL = 'cls_embedding.uncond_embedding'
RULES: Rules = (
    (r'tok_embeddings\.weight', 'code_embedding.weight'),
    (r'cls_embedding\.embedding_table\.weight', 'condition.table.weight'),
    (r'cls_embedding\.cap_proj\.fc1\.weight', 'condition.inner.weight'),
    (r'cls_embedding\.cap_proj\.fc2\.weight', 'condition.outer.weight'),
    (r'cls_embedding\.uncond_embedding', 'condition.unconditional_TC'),
    (r'layers\.(\d+)\.attention\.wqkv\.weight', r'blocks.\1.attention.qkv.weight'),
    (r'layers\.(\d+)\.attention\.wo\.weight', r'blocks.\1.attention.out.weight'),
    (r'layers\.(\d+)\.attention_norm\.weight', r'blocks.\1.attention_norm.weight'),
    (r'layers\.(\d+)\.ffn_norm\.weight', r'blocks.\1.ffn_norm.weight'),
    (r'layers\.(\d+)\.feed_forward\.w2\.weight', r'blocks.\1.ffn.out.weight'),
    (r'layers\.(\d+)\.feed_forward\.gate_up\.weight', r'blocks.\1.ffn.gate_up.weight'),
    (r'norm\.weight', 'norm.weight'),
    (r'output\.weight', 'head.weight'),
)
# What sampling leaves in a state dict of theirs.
NOT_WEIGHTS = (r'layers\.\d+\.attention\.kv_cache\..*', r'freqs_cis', r'causal_mask')
WIDTHS = (256, 128, 64, 32, 16, 8, 4, 2, 1)
# Heads of the published sizes, by channels; no shape in a file tells them.
HEADS = {768: 12, 1024: 16, 1280: 20, 1536: 24, 2048: 32, 2560: 40, 3200: 32, 4096: 32}


def import_generator(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    num_classes: int | None = None,
    cond_dropout: float = 0.1,
    caption_tokens: int | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `LlamaGen` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Query heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes, which no file holds; 16 x 16 by default, the published 384-pixel models have 24.
        num_classes: Number of classes, if the table may lack the row for none; by default it has one.
        cond_dropout: Condition dropout in training; 0 if the table has no row for none.
        caption_tokens: Feature vectors of a caption: the first rows of the file's caption for none; all by default. The
            peer calls it `cls_token_num`.

    Raises:
        UserError: Another layout of keys, heads that are not known, or that do not fit.
    """
    if 'tok_embeddings.weight' not in state or 'layers.0.attention.wqkv.weight' not in state:
        raise LayoutError(
            'LlamaGen: not a generator in the layout of LlamaGen: no tok_embeddings.weight or '
            'layers.0.attention.wqkv.weight.'
        )
    V, D = state['tok_embeddings.weight'].shape
    heads = heads_of('LlamaGen', D, heads, HEADS)
    head_dim = D // heads
    kv_heads = (len(state['layers.0.attention.wqkv.weight']) // head_dim - heads) // 2
    height, width = grid or (16, 16)
    if caption_tokens is not None and UNCONDITIONAL in state:
        state = {**state, UNCONDITIONAL: state[UNCONDITIONAL][:caption_tokens]}
    config: dict[str, Any] = dict(
        type='LlamaGen',
        layout=dict(type='Grid', height=height, width=width, codebook_size=V),
        dim=D,
        depth=depth_of(state, 'layers'),
        heads=heads,
        **({} if kv_heads == heads else dict(kv_heads=kv_heads)),
        **feed_forward(D, len(state['layers.0.feed_forward.w1.weight'])),
        **condition(state, num_classes, cond_dropout),
    )
    return config, rename(joined_gates(state), RULES, 'LlamaGen', NOT_WEIGHTS)


def feed_forward(dim: int, width: int) -> dict[str, Any]:
    """Arguments that give this feed-forward width; none for the released rule."""
    natural = int(2 * (4 * dim) / 3)
    for multiple in WIDTHS:
        if -(-natural // multiple) * multiple == width:
            return {} if multiple == 256 else dict(hidden_multiple=multiple)
    factor = math.nextafter(width / natural, math.inf)  # int() must not fall below
    return dict(hidden_multiple=1, hidden_factor=factor)


def condition(state: Mapping[str, Tensor], num_classes: int | None, cond_dropout: float) -> dict[str, Any]:
    """Arguments of the condition, read off its tensors."""
    if UNCONDITIONAL in state:
        tokens, channels = state[UNCONDITIONAL].shape
        return dict(caption_dim=channels, caption_tokens=tokens, cond_dropout=cond_dropout)
    rows = len(state['cls_embedding.embedding_table.weight'])
    num_classes = rows - 1 if num_classes is None else num_classes
    if rows == num_classes:
        cond_dropout = 0.0
    return dict(num_classes=num_classes, cond_dropout=cond_dropout)


def joined_gates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with each `w1` above its `w3` as one matrix."""
    joined = {}
    for key, value in state.items():
        if key.endswith('.feed_forward.w1.weight'):
            up = state.get(key.replace('.w1.', '.w3.'))
            if up is None:
                raise UserError(f'LlamaGen: {key} is there without its w3; this file is not whole.')
            joined[key.replace('.w1.', '.gate_up.')] = torch.cat([value, up])
        elif not key.endswith('.feed_forward.w3.weight'):
            joined[key] = value
    return joined


@IMPORTERS.register_module(name='llamagen-gpt')
class LlamaGenImporter(GeneratorImporter):
    """LlamaGen's generators."""

    read = staticmethod(import_generator)
