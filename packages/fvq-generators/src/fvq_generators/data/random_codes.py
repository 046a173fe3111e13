"""Codes without a store: what a smoke run of a generator trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from fvq_core.codes import layout_from_dict
from fvq_core.data.sample import check_index
from fvq_core.registry import DATASETS

from .codes_dataset import CodesDataset, CodesSample


@DATASETS.register_module()
class RandomCodes(Dataset):
    """Codes that are drawn evenly, the same for an index whenever it is read.

    Args:
        layout: How they lie, as a dict.
        images: Number of images.
        classes: Labels go round them.
    """

    collate = staticmethod(CodesDataset.collate)

    def __init__(self, layout: Mapping[str, Any], images: int = 32, classes: int = 10) -> None:
        self.layout, self.images, self.classes = layout_from_dict(dict(layout)), images, classes
        self.tokenizer_hash = ''

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int | tuple[int, int]) -> CodesSample:
        check_index(self, index)
        number = index[0] if isinstance(index, tuple) else index
        draws = torch.Generator().manual_seed(number)
        columns = [
            torch.randint(self.layout.vocabularies[slot % len(self.layout.vocabularies)], (), generator=draws)
            for slot in range(self.layout.length)
        ]
        return CodesSample(codes=torch.stack(columns), label=number % self.classes)
