"""Tiny models for tests of the demo page."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.registry import GENERATORS, TOKENIZERS
from fvq_generators.image_generator import ImageGenerator
from tests.quantizers.matrix import SEPARATE, TINY_QUANTIZERS, VARIANTS
from tests.tiny import kl_config, titok_config, titok_kl_config, tokenizer_config

# Every kind of layout; `huge` has a codebook that nobody can list, `tokens` has rows made of several codes.
CONFIGS: dict[str, dict[str, Any]] = {
    'grid': tokenizer_config(),
    'residual': tokenizer_config(TINY_QUANTIZERS['ResidualQuantizer']),
    'separate': tokenizer_config(SEPARATE),
    'product': tokenizer_config(TINY_QUANTIZERS['ProductQuantizer']),
    'pyramid': tokenizer_config(TINY_QUANTIZERS['MultiScaleQuantizer']),
    'joined': tokenizer_config(
        dict(
            type='ResidualQuantizer',
            quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=32),
            depth=2,
            space_to_depth=2,
        )
    ),
    'fsq': tokenizer_config(TINY_QUANTIZERS['FSQ']),
    'tokens': tokenizer_config(VARIANTS['LFQ, factorized']),
    'huge': tokenizer_config(dict(type='BSQ', codebook_size=2**36, code_dim=8)),
    'sequence': titok_config(),
    'continuous': kl_config(),
    'continuous sequence': titok_kl_config(),
}


def tiny_model(name: str) -> Autoencoder:
    """One of `CONFIGS`, folded, in eval mode, with codes spread so that several are used."""
    torch.manual_seed(0)
    model = TOKENIZERS.build(copy.deepcopy(CONFIGS[name])).eval()
    for key, parameter in model.named_parameters():
        if key.endswith('embedding'):
            torch.nn.init.normal_(parameter)
    return model.fold()


def tiny_images(kind: str, with_tokenizer: bool = True, **changes: Any) -> ImageGenerator:
    """A generator of 16x24 images of five classes: 'LlamaGen', or 'MaskGIT', which in-paints."""
    tokenizer = tiny_model('grid')
    layout = tokenizer.layout(16, 24).to_dict()
    sizes: dict[str, Any] = dict(dim=32, depth=1, heads=4)
    network = dict(sizes, hidden_multiple=8) if kind == 'LlamaGen' else dict(network=dict(type='BERT', **sizes))
    generator = GENERATORS.build(dict(type=kind, layout=layout, num_classes=5, **network, **changes)).eval()
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model = ImageGenerator(generator, tokenizer)
    if not with_tokenizer:
        model.tokenizer = None
    return model


def save_models(folder: Path) -> dict[str, str]:
    """Folders of tokenizers `grid`, `other`, `sequence` and `continuous`, and of generators `LlamaGen` and `MaskGIT`."""
    found = {name: tiny_model(name) for name in ('grid', 'residual', 'sequence', 'continuous')}
    saved = {name: str(model.save_pretrained(folder / name / 'tokenizer')) for name, model in found.items()}
    for kind in ('LlamaGen', 'MaskGIT'):
        saved[kind] = str(tiny_images(kind).save_pretrained(folder / kind / 'generator'))
    return saved
