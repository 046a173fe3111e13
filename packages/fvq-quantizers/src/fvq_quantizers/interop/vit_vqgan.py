"""ViT-VQGAN's tokenizers (thuanz123/enhancing-transformers, `ViTVQ`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.autoencoders import ViTVQGANDecoder, ViTVQGANEncoder
from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.ops.sincos_positions import grid_positions
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

CODEBOOK = 'quantizer.embedding.weight'
PATCHES, PIXELS = 'encoder.to_patch_embedding.0.weight', 'decoder.to_pixel.1.weight'
BLOCK = r'(encoder|decoder)\.transformer\.layers\.(\d+)'
RULES: Rules = (
    (r'quantizer\.embedding\.weight', 'quantizer.embedding'),
    (r'((?:pre|post)_quant\..*)', r'\1'),
    (r'encoder\.to_patch_embedding\.0\.(.*)', r'encoder.patches.\1'),
    (r'decoder\.to_pixel\.1\.(.*)', r'decoder.pixels.\1'),
    (r'((?:encoder|decoder)\.transformer\.norm\..*)', r'\1'),
    (rf'{BLOCK}\.0\.norm\.(.*)', r'\1.transformer.blocks.\2.norm1.\3'),
    (rf'{BLOCK}\.0\.fn\.to_qkv\.(.*)', r'\1.transformer.blocks.\2.attn.qkv.\3'),
    (rf'{BLOCK}\.0\.fn\.to_out\.(.*)', r'\1.transformer.blocks.\2.attn.proj.\3'),
    (rf'{BLOCK}\.1\.norm\.(.*)', r'\1.transformer.blocks.\2.norm2.\3'),
    (rf'{BLOCK}\.1\.fn\.net\.0\.(.*)', r'\1.transformer.blocks.\2.mlp.fc1.\3'),
    (rf'{BLOCK}\.1\.fn\.net\.2\.(.*)', r'\1.transformer.blocks.\2.mlp.fc2.\3'),
)
# Discriminator and perceptual network; positions, which follow from the side of an image.
NOT_WEIGHTS = (r'loss\..*', r'encoder\.en_pos_embedding', r'decoder\.de_pos_embedding')


def import_tokenizer(
    state: Mapping[str, Tensor], depth: int | None = None, l2_norm: bool = True, head_width: int = 64
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from ViT-VQGAN's.

    Args:
        depth: Codes a position of its residual option; one by default. No file stores this, nor what follows.
        l2_norm: Whether codes and latents are normalized.
        head_width: Channels of an attention head.
    """
    if not state.keys() >= {CODEBOOK, PATCHES, PIXELS, 'pre_quant.weight'}:
        raise LayoutError(f'ViT-VQGAN: not its tokenizer: no {PATCHES}, {PIXELS}, pre_quant.weight or {CODEBOOK}.')
    (K, D), channels = state[CODEBOOK].shape, state[PATCHES].shape[1]
    quantizer: dict[str, Any] = dict(
        type='VectorQuantizer', codebook_size=K, code_dim=D, init=dict(type='NormalInit', std=1.0)
    )
    if l2_norm:
        quantizer['normalize'] = dict(type='L2Normalize', straight_to_latent=True)
    if depth is not None:
        quantizer = dict(type='ResidualQuantizer', quantizer=quantizer, depth=depth, residual_losses=True)
    config = dict(
        type=Tokenizer,
        encoder=dict(type=ViTVQGANEncoder, **sizes(state, 'encoder', head_width), in_channels=channels),
        quantizer=quantizer,
        decoder=dict(type=ViTVQGANDecoder, **sizes(state, 'decoder', head_width), out_channels=channels),
    )
    renamed = rename(state, RULES, 'ViT-VQGAN', NOT_WEIGHTS)
    for name in ('pre_quant.weight', 'post_quant.weight'):
        renamed[name] = renamed[name][..., None, None]  # of a linear map, here a 1x1 convolution
    if depth is not None:
        renamed['quantizer.quantizers.0.embedding'] = renamed.pop('quantizer.embedding')
    for half in ('encoder', 'decoder'):
        add_missing_projections(renamed, f'{half}.transformer.blocks', config[half])
    return config, renamed


def sizes(state: Mapping[str, Tensor], half: str, head_width: int) -> dict[str, Any]:
    """The arguments that our encoder and decoder share; raises for what they do not cover."""
    width, _, *patch = state[PATCHES if half == 'encoder' else PIXELS].shape
    if patch[0] != patch[1]:
        raise UserError(f'ViT-VQGAN: its patches are {patch[0]}x{patch[1]} pixels; only square ones are imported.')
    key = f'{half}.transformer.layers.0.'
    inner = len(state[f'{key}0.fn.to_qkv.weight']) // 3
    if inner % head_width:
        raise UserError(
            f'ViT-VQGAN: {inner} channels of attention in the {half} are not heads of {head_width}; pass their width.'
        )
    check_positions(state[f'{half}.{half[:2]}_pos_embedding'][0], half)
    mlp_width = len(state[f'{key}1.fn.net.0.weight'])
    return dict(
        patch_size=patch[0],
        width=width,
        depth=len({key.split('.')[3] for key in state if key.startswith(f'{half}.transformer.layers.')}),
        heads=inner // head_width,
        mlp_width=None if mlp_width == 4 * width else mlp_width,
        head_width=head_width,
    )


def check_positions(table_TC: Tensor, half: str) -> None:
    """Raise unless a file's positions are the fixed sines and cosines of some grid."""
    T, C = table_TC.shape
    heights = [height for height in range(1, T + 1) if T % height == 0] if C % 4 == 0 else []
    near = sorted(heights, key=lambda height: abs(math.log(height * height / T)))  # a square grid first
    if not any(torch.allclose(grid_positions(h, T // h, C), table_TC.float(), atol=1e-3) for h in near):
        raise UserError(f'ViT-VQGAN: the positions of its {half} are not the fixed sine-cosine table of a grid.')


def add_missing_projections(renamed: dict[str, Tensor], blocks: str, config: Mapping[str, Any]) -> None:
    """A single head as wide as the tokens has no map behind it in the peer: ours then has the identity there."""
    for block in range(config['depth']):
        name = f'{blocks}.{block}.attn.proj'
        if f'{name}.weight' not in renamed and config['heads'] == 1 and config['head_width'] == config['width']:
            renamed |= {f'{name}.weight': torch.eye(config['width']), f'{name}.bias': torch.zeros(config['width'])}


@IMPORTERS.register_module(name='vit-vqgan')
class ViTVQGANImporter(TokenizerImporter):
    """ViT-VQGANs."""

    read = staticmethod(import_tokenizer)
