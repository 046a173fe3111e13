"""DiT's released weights (`DiT-XL-2-256x256.pt`, and what its training saves)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.ops.sincos_positions import grid_positions
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
SCALE = 0.18215  # of Stable Diffusion's autoencoder, on whose latents the released models were trained
# Of time, class and the last layer, which L-DiT shares.
SHARED_RULES: Rules = (
    (r't_embedder\.mlp\.0\.(weight|bias)', r'time.inner.\1'),
    (r't_embedder\.mlp\.2\.(weight|bias)', r'time.outer.\1'),
    (r'y_embedder\.embedding_table\.weight', 'condition.table.weight'),
    (r'final_layer\.adaLN_modulation\.1\.(weight|bias)', r'norm.modulation.linear.\1'),
    (r'final_layer\.linear\.(weight|bias)', r'head.\1'),
)
RULES: Rules = (
    *SHARED_RULES,
    (r'x_embedder\.proj\.(weight|bias)', r'patches.\1'),
    *timm_rules('blocks', 'blocks'),
    (r'blocks\.(\d+)\.adaLN_modulation\.1\.(weight|bias)', r'blocks.\1.modulation.linear.\2'),
)
# Theirs: shift, scale and gate of attention, then of the feed-forward layer, or of MAR's one branch; the last norm's are shift
# and scale.
OUR_ORDER = {6: (2, 5, 1, 4, 0, 3), 3: (2, 1, 0), 2: (1, 0)}
SAMPLING = dict(cfg_scale=1.5, cfg_channels=3)  # of the published FID of 2.27


def our_modulation(key: str, value: Tensor, channels: int) -> Tensor:
    """Rows of an adaptive norm's map in our order; other tensors as they are."""
    if 'adaLN_modulation' not in key:
        return value
    parts = value.unflatten(0, (-1, channels))
    return parts[list(OUR_ORDER[len(parts)])].flatten(0, 1)


def import_dit(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    cond_dropout: float = 0.1,
    num_classes: int | None = None,
    scale: float = SCALE,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `DiT` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads; by default those of the published size with so many channels.
        cond_dropout: Share of the classes that its training dropped; 0 for a table without a row for none.
        num_classes: Classes; by default the rows of the table, less one if classes were dropped.
        scale: Scale of the autoencoder's latents, which no file holds.

    Raises:
        UserError: Another layout of keys, or heads that are not known or do not fit.
    """
    if 'x_embedder.proj.weight' not in state or 'pos_embed' not in state:
        raise LayoutError('DiT: not a generator in the layout of DiT: no x_embedder.proj.weight or pos_embed.')
    D, C, patch, _ = state['x_embedder.proj.weight'].shape
    side = round(state['pos_embed'].shape[1] ** 0.5)
    rows = len(state['y_embedder.embedding_table.weight'])
    table_LD = grid_positions(side, side, D)
    if not torch.allclose(state['pos_embed'][0].float(), table_LD, atol=1e-4):
        raise LayoutError('DiT: pos_embed is not the sine-cosine table of a square grid, which ours has.')
    outputs = len(state['final_layer.linear.weight']) // patch**2
    config = dict(
        type='DiT',
        layout=dict(type='Grid', height=side * patch, width=side * patch, channels=C, scale=scale),
        patch_size=patch,
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('DiT', D, heads, HEADS),
        num_classes=rows - (cond_dropout > 0) if num_classes is None else num_classes,
        cond_dropout=cond_dropout,
        learned_variance=outputs == 2 * C,
    )
    ours = {key: our_modulation(key, value, D) for key, value in state.items()}
    return config, rename(ours, RULES, 'DiT', ('pos_embed',))


@IMPORTERS.register_module(name='dit')
class DiTImporter(GeneratorImporter):
    """DiT's generators."""

    read = staticmethod(import_dit)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID."""
        return SAMPLING
