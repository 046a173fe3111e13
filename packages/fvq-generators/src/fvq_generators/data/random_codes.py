"""Codes or latents without a store: what a smoke run of a generator trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from fvq_core.codes import LatentLayout
from fvq_core.data.sample import check_index
from fvq_core.registry import DATASETS, GENERATORS, TOKENIZERS

from ..codes_store.layouts import any_layout_from_dict
from .codes_dataset import CodesDataset, CodesSample


@DATASETS.register_module()
class RandomCodes(Dataset):
    """Codes drawn evenly, or latents of unit variance once normalized; the same for an index whenever it is read.

    Args:
        layout: Layout of the codes, as a dict.
        images: Number of images.
        classes: Labels go round them.
    """

    collate = staticmethod(CodesDataset.collate)

    def __init__(self, layout: Mapping[str, Any], images: int = 32, classes: int = 10) -> None:
        self.layout, self.images, self.classes = any_layout_from_dict(dict(layout)), images, classes
        self.tokenizer_hash = ''

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int | tuple[int, int]) -> CodesSample:
        check_index(self, index)
        number = index[0] if isinstance(index, tuple) else index
        draws = torch.Generator().manual_seed(number)
        label = number % self.classes
        if isinstance(self.layout, LatentLayout):
            normal = torch.randn(self.layout.shape, generator=draws)
            return CodesSample(latents=self.layout.denormalize(normal), label=label)
        columns = [
            torch.randint(self.layout.vocabularies[slot % self.layout.slots], (), generator=draws)
            for slot in range(self.layout.length)
        ]
        return CodesSample(codes=torch.stack(columns), label=label)

    @staticmethod
    def fit_model(model: Mapping[str, Any]) -> dict[str, Any]:
        """The layout of the generator, and no class that it does not have, or of a frozen autoencoder; for smoke runs."""
        if 'generator' not in model:
            return dict(layout=TOKENIZERS.build(model['tokenizer']).encoder.example_layout.to_dict())
        generator = GENERATORS.build(model['generator'])
        return dict(layout=generator.layout.to_dict(), classes=min(10, generator.num_classes or 10))
