"""Tiny generators for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from fvq_core.registry import GENERATORS
from fvq_generators import LlamaGen

GRID = dict(type='Grid', height=3, width=4, codebook_size=32)
SEQUENCE = dict(type='Sequence', length=7, codebook_size=32)
NO_DROPOUT = dict(token_dropout=0.0, residual_dropout=0.0, ffn_dropout=0.0)


def generator_config(**changes: Any) -> dict[str, Any]:
    """Two blocks of 32 channels on a 3 x 4 grid, five classes."""
    return dict(
        type='LlamaGen', **{**dict(layout=GRID, dim=32, depth=2, heads=4, num_classes=5, hidden_multiple=8), **changes}
    )


def tiny_generator(**changes: Any) -> LlamaGen:
    """In eval mode, with weights so large that every position and condition shows in the logits."""
    generator = GENERATORS.build(generator_config(**changes))
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return cast(LlamaGen, generator.eval())


def write_codes(folder: Path, images: int = 12, crops: int = 2) -> Path:
    """LlamaGen's folder of codes: each image counts up from a number that its class and crop give."""
    rng = np.random.default_rng(0)
    for name in ('tiny_codes', 'tiny_labels'):
        (folder / name).mkdir(parents=True)
    for number in range(images):
        label = number % 5
        codes = (label * 6 + np.arange(12)[None, None] + rng.integers(0, 2, (1, crops, 1))) % 32
        np.save(folder / 'tiny_codes' / f'{number}.npy', codes.astype(np.int64))
        np.save(folder / 'tiny_labels' / f'{number}.npy', np.array([label], dtype=np.int64))
    return folder


def manifest_fields(crops: int, images: int) -> dict[str, Any]:
    """Fields of a store's manifest but its layout: shards of three images, random crops."""
    return dict(
        tokenizer_hash='ab' * 32,
        tokenizer='somewhere',
        crops=dict(kind='random', count=crops),
        precision='float32',
        seed=0,
        source='nowhere',
        source_images=images,
        source_digest='cd',
        shard_size=3,
    )
