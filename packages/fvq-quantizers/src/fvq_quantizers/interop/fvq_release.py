"""The released FVQ checkpoints: LlamaGen's layout, with a bridge under `quantize.qbridge` or already folded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import Rules, rename
from fvq_core.registry import IMPORTERS

from . import llamagen, var

BLOCK_RULE = (r'blocks\.(\d+)\.(.*)', r'blocks.\1.\2')
VIT_BRIDGE_RULES: Rules = (
    (r'x_embedder\.proj\.(.*)', r'compress.\1'),
    BLOCK_RULE,
    (r'final_layer\.linear\.(.*)', r'expand.\1'),
)
DIT_BRIDGE_RULES: Rules = (
    (r'pos_embed', 'positions'),
    (r'y_embedder\.embedding_table\.(.*)', r'label_table.\1'),
    (r'blocks\.(\d+)\.adaLN_modulation\.1\.(.*)', r'blocks.\1.modulation.\2'),
    (r'final_layer\.adaLN_modulation\.1\.(.*)', r'modulation.\1'),
    *VIT_BRIDGE_RULES,
)
LINEAR_RULES: Rules = ((r'linear\.(.*)', r'map.\1'),)
MLP_RULES: Rules = ((r'linear_\d+\.(\d+)\.(.*)', r'layers.\1.\2'),)
BRIDGE_PREFIX = 'quantize.qbridge.'


def import_projector(
    state: Mapping[str, Tensor], num_heads: int = 4, fold_label: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our projector from a `qbridge` module of the release.

    Args:
        state: Keys without prefix; empty for the release's identity bridge.
        num_heads: Attention heads, which no shape tells; 4 in the released scripts.
        fold_label: Of a class-conditional DiT bridge, the label for evaluation and folding; see `DiTBridge`.
    """
    labels = len(state.get('y_embedder.embedding_table.weight', ()))
    if fold_label is not None and labels < 2:
        raise UserError(f'FVQ bridge: it has no classes and takes no fold_label, got {fold_label}; drop it.')
    if not state:
        return dict(type='IdentityProjector'), {}
    if 'linear.weight' in state:
        config = dict(type='LinearProjector', bias='linear.bias' in state)
        return config, rename(state, LINEAR_RULES, 'FVQ bridge')
    if any(re.fullmatch(MLP_RULES[0][0], key) for key in state):
        depth = sum(key.endswith('.weight') for key in state)
        return dict(type='MLPProjector', depth=depth), rename(state, MLP_RULES, 'FVQ bridge')
    if 'x_embedder.proj.weight' not in state:
        raise UserError(f'FVQ bridge: unknown layout with keys such as {", ".join(list(state)[:3])}.')
    if 'pos_embed' not in state:
        return dict(type='VQBridge', **block_options(state, num_heads)), rename_blocks(state, VIT_BRIDGE_RULES)
    config = dict(type='DiTBridge', **block_options(state, num_heads))
    if labels > 1:  # the classes and the null class, which every released class-conditional bridge has
        config.update(num_classes=labels - 1, fold_label=fold_label)
    renamed = rename_blocks(state, DIT_BRIDGE_RULES)
    renamed['positions'] = renamed['positions'].squeeze(0)
    return config, renamed


def block_options(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Any]:
    """The options of either block bridge, read off shapes: it compresses the square codebook by a strided convolution."""
    hidden_dim, _, patch, _ = state['x_embedder.proj.weight'].shape
    mlp_dim = state['blocks.0.mlp.fc1.weight'].shape[0]
    mlp_ratio = mlp_dim / hidden_dim
    if int(hidden_dim * mlp_ratio) < mlp_dim:  # the quotient was rounded down
        mlp_ratio = math.nextafter(mlp_ratio, math.inf)
    return dict(
        patch_size=patch * patch,
        hidden_dim=hidden_dim,
        depth=1 + max(int(m[1]) for key in state if (m := re.match(r'blocks\.(\d+)\.', key))),
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        patching='grid',
    )


def rename_blocks(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Rename, and reorder the convolution's inputs (channel, row, column) to our linear map's (row, column, channel)."""
    renamed = rename(state, rules, 'FVQ bridge')
    renamed['compress.weight'] = renamed['compress.weight'].permute(0, 2, 3, 1).flatten(1)
    return renamed


def import_tokenizer(
    state: Mapping[str, Tensor],
    l2_norm: bool | None = None,
    fold_label: int | None = None,
    depth: int | None = None,
    scales: Sequence[int] | None = None,
    phi_ratio: float | None = None,
    heads: int | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from the release's; a file without a bridge is folded.

    The release's VAR variant is recognized by VAR's layout. Its residual variant has the same keys as the plain one, so
    the caller must say which it is.

    Args:
        l2_norm: Whether codes and latents are normalized; by default not, as in FVQ.
        fold_label: See `import_projector`.
        depth: Codes per position in the residual variant, 4 as released; None for the plain one.
        scales: Scales of the VAR variant; see `var.import_tokenizer`.
        phi_ratio: Ratio of the VAR variant; see `var.import_tokenizer`.
        heads: Attention heads of the bridge, which no shape tells; 4 by default, as in the released scripts.
    """
    bridge = {key.removeprefix(BRIDGE_PREFIX): value for key, value in state.items() if key.startswith(BRIDGE_PREFIX)}
    tokenizer = {key: value for key, value in state.items() if not key.startswith(BRIDGE_PREFIX)}
    multi_scale = 'encoder.down.0.block.0.conv2.weight' in tokenizer
    scale_options = dict(scales=scales, phi_ratio=phi_ratio)
    given: dict[str, Any] = {name: value for name, value in scale_options.items() if value is not None}
    if (given and not multi_scale) or (depth is not None and multi_scale):
        layout = 'VAR' if multi_scale else 'LlamaGen'
        raise UserError(
            'FVQ: scales and phi_ratio belong to the VAR variant and depth to the residual one, got '
            f'{dict(scale_options, depth=depth)} for a file in the layout of {layout}; drop what does not fit.'
        )
    if multi_scale:
        config, renamed = var.import_tokenizer(tokenizer, bool(l2_norm), **given)
        vector_quantizer, prefix = config['quantizer']['quantizer'], 'quantizer.quantizer.'
    else:
        config, renamed = llamagen.import_tokenizer(tokenizer, l2_norm=bool(l2_norm))
        vector_quantizer, prefix = config['quantizer'], 'quantizer.'
    if depth is not None:
        config['quantizer'] = dict(type='ResidualQuantizer', quantizer=vector_quantizer, depth=depth)
        prefix = 'quantizer.quantizers.0.'
        renamed[f'{prefix}embedding'] = renamed.pop('quantizer.embedding')
    if heads is not None and 'x_embedder.proj.weight' not in bridge:
        raise UserError(f'FVQ bridge: it has no attention and takes no heads, got {heads}; drop them.')
    if bridge or fold_label is not None:
        projector, projector_state = import_projector(bridge, 4 if heads is None else heads, fold_label)
        side = math.isqrt(vector_quantizer['codebook_size'])
        if projector.get('patching') == 'grid' and side * side != vector_quantizer['codebook_size']:
            raise UserError(f'FVQ: the release needs a square codebook, got {vector_quantizer["codebook_size"]} codes.')
        vector_quantizer['projector'] = projector
        renamed.update({f'{prefix}projector.{key}': value for key, value in projector_state.items()})
    return config, renamed


@IMPORTERS.register_module(name='fvq')
class FVQImporter(TokenizerImporter):
    """The tokenizers of FVQ's release."""

    read = staticmethod(import_tokenizer)
