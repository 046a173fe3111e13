"""Tiny tokenizers for tests, and models of peers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.convert import import_from_peer
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer

HALF = dict(ch=8, ch_mult=(1, 2), num_res_blocks=1, z_channels=8, norm_groups=4, attention=False)
FVQ = dict(
    type='VectorQuantizer',
    codebook_size=16,
    code_dim=8,
    projector=dict(type='VQBridge', patch_size=4, output_scale=1.0),
)


def tokenizer_config(quantizer: Mapping[str, Any] = FVQ, checkpointing: bool = False) -> dict[str, Any]:
    """Two levels (f = 2) around a quantizer of 8 channels."""
    return dict(
        type='Tokenizer',
        encoder=dict(type='VQGANEncoder', **HALF, checkpointing=checkpointing),
        quantizer=dict(quantizer),
        decoder=dict(type='VQGANDecoder', **HALF, checkpointing=checkpointing),
    )


def kl_config(**changes: Any) -> dict[str, Any]:
    """A KL autoencoder of two levels (f = 2) with 4 channels."""
    return (
        dict(
            type='KLAutoencoder',
            encoder=dict(type='VQGANEncoder', **HALF),
            decoder=dict(type='VQGANDecoder', **{**HALF, 'z_channels': 4}),
            latent_channels=4,
        )
        | changes
    )


def tiny_tokenizer(quantizer: Mapping[str, Any] = FVQ) -> Tokenizer:
    """In eval mode, with codes spread so that several are used."""
    tokenizer = TOKENIZERS.build(tokenizer_config(quantizer)).eval()
    for name, parameter in tokenizer.quantizer.named_parameters():
        if name.endswith('embedding'):
            torch.nn.init.normal_(parameter)
    return tokenizer


def random_images(batch: int = 2, height: int = 8, width: int = 12) -> Tensor:
    """Uniform in [-1, 1]."""
    return torch.rand(batch, 3, height, width) * 2 - 1


def build_from_peer(peer: str, content: Any, **options: Any) -> Any:
    """Our model with the weights of a peer's state dict."""
    return import_from_peer(peer, content, **options)[0]


def maskgit_config(
    ch: int = 8, levels: tuple[int, ...] = (1, 1, 1), codebook_size: int = 16, quant_kernel: int = 0
) -> dict[str, Any]:
    """MaskGIT's tokenizer (f = 4 with three levels), codes of 8 channels."""
    half = dict(ch=ch, ch_mult=levels, num_res_blocks=1, z_channels=8, norm_groups=4)
    return dict(
        type='Tokenizer',
        encoder=dict(type='MaskGITEncoder', **half),
        quantizer=dict(type='VectorQuantizer', codebook_size=codebook_size, code_dim=8),
        decoder=dict(type='MaskGITDecoder', **half),
        quant_kernel=quant_kernel,
    )


PROXY_HEAD: dict[str, Any] = dict(
    type='ProxyCodesHead', decoder=maskgit_config()['decoder'], codebook_size=16, code_dim=8
)


def titok_config(head: Mapping[str, Any] | None = None, **decoder: Any) -> dict[str, Any]:
    """TiTok for images of 16x24: patches of 4x4, six tokens of 16 codes with 4 channels."""
    half = dict(image_size=(16, 24), patch_size=4, width=16, depth=2, heads=2, tokens=6, z_channels=4)
    return dict(
        type='Tokenizer',
        encoder=dict(type='TiTokEncoder', **half),
        quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=4),
        decoder=dict(type='TiTokDecoder', **half, head=head and dict(head), **decoder),
        quant_kernel=0,
    )


def titok_kl_config(**decoder: Any) -> dict[str, Any]:
    """The same with continuous latents of 4 channels."""
    config = titok_config(**decoder)
    del config['quantizer']
    return config | dict(type='KLAutoencoder', encoder=dict(config['encoder'], z_channels=8), latent_channels=4)
