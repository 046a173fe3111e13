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
