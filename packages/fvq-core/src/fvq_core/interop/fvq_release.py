"""The released FVQ checkpoints: LlamaGen's layout, with the bridge under `quantize.qbridge` or already folded away."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import UserError
from . import llamagen
from .key_map import Rules, rename

BLOCK_RULE = (r'blocks\.(\d+)\.(.*)', r'blocks.\1.\2')
VIT_BRIDGE_RULES: Rules = (
    (r'x_embedder\.proj\.(.*)', r'compress.\1'),
    BLOCK_RULE,
    (r'final_layer\.linear\.(.*)', r'expand.\1'),
)
LINEAR_RULES: Rules = ((r'linear\.(.*)', r'map.\1'),)
MLP_RULES: Rules = ((r'linear_\d+\.(\d+)\.(.*)', r'layers.\1.\2'),)
BRIDGE_PREFIX = 'quantize.qbridge.'


def import_projector(state: Mapping[str, Tensor], num_heads: int = 4) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our projector from a `qbridge` module of the release.

    Args:
        state: Keys without prefix.
        num_heads: Of the blocks' attention, which no shape tells; 4 in every released model.
    """
    if 'linear.weight' in state:
        config = dict(type='LinearProjector', bias='linear.bias' in state)
        return config, rename(state, LINEAR_RULES, 'FVQ bridge')
    if any(re.fullmatch(MLP_RULES[0][0], key) for key in state):
        depth = sum(key.endswith('.weight') for key in state)
        return dict(type='MLPProjector', depth=depth), rename(state, MLP_RULES, 'FVQ bridge')
    if any('adaLN_modulation' in key for key in state):
        raise UserError(
            'FVQ bridge: this is the DiT-style bridge (adaLN, positions), not the ViT one; export the folded '
            'checkpoint of the release, which holds the mapped codebook, and import that.'
        )
    if 'x_embedder.proj.weight' not in state:
        raise UserError(f'FVQ bridge: unknown layout with keys such as {", ".join(list(state)[:3])}.')
    return import_vit_bridge(state, num_heads)


def import_vit_bridge(state: Mapping[str, Tensor], num_heads: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ViT bridge: its compression is a strided convolution over the codebook laid out as a square."""
    hidden_dim, _, patch, _ = state['x_embedder.proj.weight'].shape
    depth = 1 + max(int(m[1]) for key in state if (m := re.match(r'blocks\.(\d+)\.', key)))
    config = dict(
        type='VQBridge',
        patch_size=patch * patch,
        hidden_dim=hidden_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=state['blocks.0.mlp.fc1.weight'].shape[0] / hidden_dim,
        patching='grid',
    )
    renamed = rename(state, VIT_BRIDGE_RULES, 'FVQ bridge')
    # The convolution sums over (channel, row, column); our linear map over (row, column, channel).
    renamed['compress.weight'] = renamed['compress.weight'].permute(0, 2, 3, 1).flatten(1)
    return config, renamed


def import_tokenizer(
    state: Mapping[str, Tensor], l2_norm: bool | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from the release's; without a bridge in the file it is a folded one.

    Args:
        state: The peer's state dict.
        l2_norm: False unless given: FVQ does not normalise.
    """
    bridge = {key.removeprefix(BRIDGE_PREFIX): value for key, value in state.items() if key.startswith(BRIDGE_PREFIX)}
    rest = {key: value for key, value in state.items() if not key.startswith(BRIDGE_PREFIX)}
    config, renamed = llamagen.import_tokenizer(rest, l2_norm=bool(l2_norm))
    if bridge:
        projector, projector_state = import_projector(bridge)
        side = math.isqrt(config['quantizer']['codebook_size'])
        if projector['type'] == 'VQBridge' and side * side != config['quantizer']['codebook_size']:
            raise UserError(
                f'FVQ: the release needs a square codebook, got {config["quantizer"]["codebook_size"]} codes.'
            )
        config['quantizer']['projector'] = projector
        renamed.update({f'quantizer.projector.{key}': value for key, value in projector_state.items()})
    return config, renamed
