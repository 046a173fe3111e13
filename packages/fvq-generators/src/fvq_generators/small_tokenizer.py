"""The tokenizer of smoke runs."""

from __future__ import annotations

from typing import Any


def small_tokenizer(
    type: str | None = None, codebook_size: int = 64, codes: dict[str, Any] | None = None, **arguments: Any
) -> dict[str, Any]:
    """The config of a tokenizer for images of 64x64: a latent of 4x4 positions, codes of 8 channels.

    Args:
        type: A quantizer that wraps a vector quantizer; None for the vector quantizer.
        codebook_size: Codes.
        codes: Another quantizer in place of the vector quantizer.
        arguments: Its other arguments.
    """
    half = dict(ch=8, ch_mult=(1, 1, 1, 1, 1), num_res_blocks=0, z_channels=8, norm_groups=4, attention=False)
    codes = codes or dict(type='VectorQuantizer', codebook_size=codebook_size, code_dim=8)
    return dict(
        type='Tokenizer',
        encoder=dict(type='VQGANEncoder', **half),
        quantizer=codes if type is None else dict(type=type, quantizer=codes, **arguments),
        decoder=dict(type='VQGANDecoder', **half),
    )
