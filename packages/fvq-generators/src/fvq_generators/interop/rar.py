"""RAR's generators (`rar_b.bin`, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules

RULES: Rules = (
    (r'(start_D|(?:position|target|place)_embedding|code_embedding\.weight|condition\.table\.weight)', r'\1'),
    *timm_rules('blocks', 'blocks'),
    (r'blocks\.(\d+)\.attn\.([qk])_norm\.(weight|bias)', r'blocks.\1.attention.\2_norm.\3'),
    (r'blocks\.(\d+)\.adaLN_modulation\.1\.(weight|bias)', r'blocks.\1.modulation.linear.\2'),
    (r'adaln_before_head\.adaLN_modulation\.1\.(weight|bias)', r'norm.modulation.linear.\1'),
    (r'lm_head\.(weight|bias)', r'head.\1'),
)
HEADS = {768: 16, 1024: 16, 1280: 16, 1408: 16}
# Ours, gate1, gate2, scale1, scale2, shift1, shift2, out of theirs, shift1, scale1, gate1, shift2, scale2, gate2.
PARTS = (2, 5, 1, 4, 0, 3)
TABLES = ('embeddings.weight', 'cls_token', 'pos_embed', 'target_aware_pos_embed', 'timesteps_embeddings')
SAMPLING: dict[int, dict[str, Any]] = {
    768: dict(cfg_scale=16.0, cfg_power=2.75),
    1024: dict(cfg_scale=15.5, cfg_power=2.5, temperature=1.02),
    1280: dict(cfg_scale=6.9, cfg_power=1.5, temperature=1.02),
    1408: dict(cfg_scale=8.0, cfg_power=1.2, temperature=1.02),
}


def import_rar(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    cond_dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `RAR` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads, which no file holds; by default those of the published size with these channels.
        grid: Rows and columns of the codes, which no file holds; 16 x 16 by default.
        cond_dropout: Condition dropout in training.

    Raises:
        UserError: Another layout of keys, or heads that are not known or do not fit.
    """
    if any(name not in state for name in (*TABLES, 'lm_head.weight')):
        raise LayoutError(f'RAR: not a generator in the layout of RAR: it has {", ".join(TABLES)} and lm_head.weight.')
    V, D = state['lm_head.weight'].shape
    height, width = grid or (16, 16)
    L, words = height * width, state['embeddings.weight']
    config = dict(
        type='RAR',
        layout=dict(type='Grid', height=height, width=width, codebook_size=V),
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('RAR', D, heads, HEADS),
        width=len(state['blocks.0.mlp.fc1.weight']),
        num_classes=len(words) - V - 2,
        cond_dropout=cond_dropout,
    )
    own = {
        key: reordered(value) if '.adaLN_modulation.' in key and key.startswith('blocks.') else value
        for key, value in state.items()
        if key not in TABLES
    }
    # Codes, a mask that is not used, classes, no class.
    own |= {'code_embedding.weight': words[:V], 'condition.table.weight': words[V + 1 :]}
    own['start_D'] = state['cls_token'].flatten()
    # The tables have rows for longer sequences; start and class have no rows of their own in that of the targets.
    own['position_embedding'] = state['pos_embed'][0, : L + 2]
    own['target_embedding'] = state['target_aware_pos_embed'][0, 2 : L + 2]
    own['place_embedding'] = state['timesteps_embeddings'][0, : L + 2]
    return config, rename(own, RULES, 'RAR', drop=('attn_mask',))


def reordered(parts_PDC: Tensor, order: Sequence[int] = PARTS) -> Tensor:
    """The rows of a modulation in our order: which of their parts each of ours is."""
    parts = parts_PDC.chunk(len(order))
    return torch.cat([parts[number] for number in order])


@IMPORTERS.register_module(name='rar')
class RARImporter(GeneratorImporter):
    """RAR's generators."""

    read = staticmethod(import_rar)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        return SAMPLING.get(model.head.in_features, {})
