"""BAR's generators (`bar_b.bin`, ...): those whose codes are not joined in patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules
from .rar import PARTS, reordered

W = r'(weight|bias)'
RULES: Rules = (
    (r'(start_D|(?:position|target|place)_embedding|bit_embedding\.weight|condition\.table\.weight)', r'\1'),
    (rf'input_merge\.{W}', r'bit_merge.\1'),
    *timm_rules('blocks', 'blocks'),
    (r'blocks\.(\d+)\.attn\.([qk])_norm\.weight', r'blocks.\1.attention.\2_norm.weight'),
    (rf'blocks\.(\d+)\.mlp\.w12\.{W}', r'blocks.\1.ffn.gate_up.\2'),
    (rf'blocks\.(\d+)\.mlp\.w3\.{W}', r'blocks.\1.ffn.out.\2'),
    (rf'blocks\.(\d+)\.adaLN_modulation\.1\.{W}', r'blocks.\1.modulation.linear.\2'),
    (r'norm\.weight', 'norm.weight'),
    (rf'latent_condition_proj\.{W}', r'head.\1'),
    (r'lm_head\.input_embed\.weight', 'bit_head.bit_embedding.weight'),
    (rf'lm_head\.input_proj\.{W}', r'bit_head.input.\1'),
    (r'lm_head\.ln_pre\.weight', 'bit_head.input_norm.weight'),
    (r'lm_head\.t_embedder\.W', 'bit_head.share_embedding.frequencies'),
    (rf'lm_head\.t_embedder\.mlp\.0\.{W}', r'bit_head.share_embedding.inner.\1'),
    (rf'lm_head\.t_embedder\.mlp\.2\.{W}', r'bit_head.share_embedding.outer.\1'),
    (r'lm_head\.transformer\.(\d+)\.in_ln\.weight', r'bit_head.blocks.\1.norm.weight'),
    (rf'lm_head\.transformer\.(\d+)\.mlp\.w12\.{W}', r'bit_head.blocks.\1.ffn.gate_up.\2'),
    (rf'lm_head\.transformer\.(\d+)\.mlp\.w3\.{W}', r'bit_head.blocks.\1.ffn.out.\2'),
    (rf'lm_head\.transformer\.(\d+)\.adaLN_modulation\.1\.{W}', r'bit_head.blocks.\1.modulation.linear.\2'),
    (r'lm_head\.adaln_before_head\.norm_final\.weight', 'bit_head.norm.norm.weight'),
    (rf'lm_head\.adaln_before_head\.adaLN_modulation\.1\.{W}', r'bit_head.norm.modulation.linear.\1'),
    (rf'lm_head\.output_embed\.{W}', r'bit_head.output.\1'),
)
HEAD_PARTS = (2, 1, 0)  # ours, gate, scale, shift, out of theirs, shift, scale, gate
HEADS = {768: 12, 1280: 16}
TABLES = (
    *('embeddings.weight', 'input_embeddings.weight', 'cls_token'),
    *('pos_embed', 'target_aware_pos_embed', 'timesteps_embeddings'),
)
SPARE = 128  # rows of the position tables beyond the codes
CLASS_TOKENS = 32
FIRST_CLASS = 3  # its row: behind both values of a bit and a mask, none of which is used
MOST_BITS = 32  # of a code; a patch of four codes has more
SAMPLING: dict[tuple[int, int], dict[str, Any]] = {
    (768, 16): dict(cfg_scale=5.0, temperature=2.5, shares='2-2-5-7'),
    (1280, 16): dict(cfg_scale=5.3, temperature=3.0, shares='2-2-5-7'),
    (1280, 10): dict(cfg_scale=4.2, temperature=2.8, shares='2-2-2-4'),
}


def import_bar(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `BAR` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes; by default a square.
        cond_dropout: Condition dropout in training.

    Raises:
        UserError: Another layout of keys; codes that are joined in patches; heads or a grid that do not fit.
    """
    if any(name not in state for name in (*TABLES, 'lm_head.output_embed.weight')):
        raise LayoutError(f'BAR: not a generator in the layout of BAR: it has {", ".join(TABLES)} and lm_head.')
    bits, (_, rows, D) = len(state['lm_head.output_embed.weight']) // 2, state['pos_embed'].shape
    L, T = rows - SPARE, 1 + CLASS_TOKENS
    if bits > MOST_BITS:
        raise UserError(
            f'BAR: codes of {bits} bits are patches of several codes (BAR-B/2, B/4), which are not available.'
        )
    height, width = grid or (math.isqrt(L), math.isqrt(L))
    if height * width != L:
        raise UserError(f'BAR: this file has positions for {L} codes, not {height} x {width}; give the grid (--grid).')
    words = state['embeddings.weight']
    config = dict(
        type='BAR',
        layout=dict(type='Grid', height=height, width=width, codebook_size=2**bits),
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('BAR', D, heads, HEADS),
        head_width=len(state['latent_condition_proj.weight']),
        head_depth=depth_of(state, 'lm_head.transformer'),
        class_tokens=CLASS_TOKENS,
        num_classes=len(words) - FIRST_CLASS - 1,
        cond_dropout=cond_dropout,
    )
    own = {
        key: reordered(value, HEAD_PARTS if key.startswith('lm_head.transformer') else PARTS)
        if '.adaLN_modulation.' in key and 'adaln_before_head' not in key
        else value
        for key, value in state.items()
        if key not in TABLES
    }
    # The mask of the codes is not used: bits that are masked are in the head alone.
    own |= {'condition.table.weight': words[FIRST_CLASS:], 'bit_embedding.weight': state['input_embeddings.weight'][:2]}
    own['start_D'] = state['cls_token'].flatten()
    own['position_embedding'] = state['pos_embed'][0, : T + L]
    own['target_embedding'] = state['target_aware_pos_embed'][0, T : T + L]
    own['place_embedding'] = state['timesteps_embeddings'][0, : T + L]
    return config, rename(own, RULES, 'BAR', drop=(r'blocks\.\d+\.attn\.rope\.freqs_(cos|sin)',))


@IMPORTERS.register_module(name='bar')
class BARImporter(GeneratorImporter):
    """BAR's generators."""

    read = staticmethod(import_bar)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels and bits."""
        return SAMPLING.get((model.head.in_features, model.bits), {})
