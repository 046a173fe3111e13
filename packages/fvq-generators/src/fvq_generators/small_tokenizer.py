"""The tokenizer of smoke runs."""

from __future__ import annotations

from typing import Any


def small_tokenizer(type: str, **arguments: Any) -> dict[str, Any]:
    """The config of a tokenizer for images of 64x64: a latent of 4x4 positions, 64 codes of 8 channels.

    Args:
        type: A quantizer that wraps a vector quantizer.
        arguments: Its other arguments.
    """
    half = dict(ch=8, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=0, z_channels=8, norm_groups=4, attention=False)
    codes = dict(type='VectorQuantizer', codebook_size=64, code_dim=8)
    return dict(
        type='Tokenizer',
        encoder=dict(type='VQGANEncoder', **half),
        quantizer=dict(type=type, quantizer=codes, **arguments),
        decoder=dict(type='VQGANDecoder', **half),
    )
