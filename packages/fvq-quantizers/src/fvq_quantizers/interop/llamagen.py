"""LlamaGen's tokenizer checkpoints (VQ-16, VQ-8 and any variant of their `VQModel`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming_autoencoder import QUANT_CONV_RULES

# In both halves: `conv_blocks.N.res.M` are the residual blocks of a level, `attn.M` its attention.
AUTOENCODER_RULES: Rules = (
    (r'(encoder|decoder)\.conv_blocks\.(\d+)\.res\.(\d+)\.nin_shortcut\.(.*)', r'\1.levels.\2.blocks.\3.shortcut.\4'),
    (r'(encoder|decoder)\.conv_blocks\.(\d+)\.res\.(\d+)\.(.*)', r'\1.levels.\2.blocks.\3.\4'),
    (r'(encoder|decoder)\.conv_blocks\.(\d+)\.attn\.(\d+)\.(.*)', r'\1.levels.\2.attention.\3.\4'),
    (r'(encoder|decoder)\.conv_blocks\.(\d+)\.(downsample|upsample)\.(.*)', r'\1.levels.\2.\3.\4'),
    (r'((encoder|decoder)\.(conv_in|conv_out|norm_out|mid)\..*)', r'\1'),
    *QUANT_CONV_RULES,
)
QUANTIZER_RULES: Rules = ((r'quantize\.embedding\.weight', 'quantizer.embedding'),)
MARKERS = ('encoder.conv_in.weight', 'quantize.embedding.weight', 'encoder.conv_blocks.0.res.0.conv2.weight')
# A ring buffer of the last 65,536 codes, for the peer's usage statistics in training.
NOT_WEIGHTS = (r'quantize\.codebook_used',)


def autoencoder_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Encoder and decoder configs, read off the shapes of a state dict in the peer's layout."""
    if not state.keys() >= set(MARKERS):
        raise LayoutError(f'not a tokenizer in the layout of LlamaGen: no {" or ".join(MARKERS)}.')
    ch, in_channels = state['encoder.conv_in.weight'].shape[:2]
    pattern = re.compile(r'encoder\.conv_blocks\.(\d+)\.res\.(\d+)\.conv2\.weight')
    blocks = {(int(m[1]), int(m[2])): state[key].shape[0] for key in state if (m := pattern.fullmatch(key))}
    levels = 1 + max(level for level, _ in blocks)
    common = dict(
        ch=ch,
        ch_mult=[blocks[level, 0] // ch for level in range(levels)],
        num_res_blocks=1 + max(block for _, block in blocks),
        z_channels=state['encoder.conv_out.weight'].shape[0],
    )
    return dict(
        encoder=dict(type=VQGANEncoder, **common, in_channels=in_channels),
        decoder=dict(type=VQGANDecoder, **common, out_channels=state['decoder.conv_out.weight'].shape[0]),
    )


def import_tokenizer(
    state: Mapping[str, Tensor], l2_norm: bool | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from LlamaGen's.

    Args:
        l2_norm: Whether codes and latents are normalized, which the file does not store; by default they are, as in all
            released LlamaGen tokenizers.
    """
    codebook_size, code_dim = (
        state['quantize.embedding.weight'].shape if 'quantize.embedding.weight' in state else (0, 0)
    )
    config: dict[str, Any] = dict(
        type=Tokenizer,
        **autoencoder_config(state),
        quantizer=dict(type='VectorQuantizer', codebook_size=codebook_size, code_dim=code_dim),
    )
    if l2_norm is None or l2_norm:
        config['quantizer']['normalize'] = dict(type='L2Normalize')
    return config, rename(state, (*AUTOENCODER_RULES, *QUANTIZER_RULES), 'LlamaGen', NOT_WEIGHTS)


@IMPORTERS.register_module(name='llamagen')
class LlamaGenImporter(TokenizerImporter):
    """LlamaGen's tokenizers."""

    read = staticmethod(import_tokenizer)
