"""Codes with a representation of the same crop: what RCG trains on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fvq_core.codes import LatentLayout
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from ..codes_store import CodesStore
from ..codes_store.reader import CodesReader
from .codes_dataset import CodesDataset, CodesSample

SAME = ('source_digest', 'crops', 'seed', 'unreadable')


class RepresentedSample(CodesSample):
    """A `CodesSample` with `captions` float32 (1, C), unless it has an `error`."""

    captions: Tensor


@DATASETS.register_module()
class RepresentedCodes(CodesDataset):
    """`CodesDataset` whose items have the representation of their crop, float32 (1, C), as `captions`.

    Args:
        root: A folder that `tools/extract_codes.py` wrote.
        representations: A folder that `tools/extract_representations.py` wrote, of the same crops of the same images.
        seed, labels, every_crop: See `CodesDataset`.

    Raises:
        UserError: A store of something else, or of other images or crops.
    """

    def __init__(
        self, root: str, representations: str, seed: int = 0, labels: bool = True, every_crop: bool = False
    ) -> None:
        super().__init__(root, seed=seed, labels=labels, every_crop=every_crop)
        self.representations = CodesStore(representations)
        layout = self.representations.layout
        if not isinstance(layout, LatentLayout) or layout.positions != CodeSequence(1):
            raise UserError(
                f'RepresentedCodes: {representations} holds {layout}, not one vector a crop; make it with '
                'tools/extract_representations.py.'
            )
        (store,) = self.stores
        if not isinstance(store, CodesStore):
            raise UserError(
                f'RepresentedCodes: {root} does not tell which crops its codes are of; extract them with '
                'tools/extract_codes.py.'
            )
        ours, theirs = store.manifest, self.representations.manifest
        differ = [key.replace('_', ' ') for key in SAME if getattr(ours, key) != getattr(theirs, key)]
        if differ:
            raise UserError(
                f'RepresentedCodes: {root} and {representations} are not of the same crops, they differ in '
                f'{", ".join(differ)}; extract both from the same images with the same options.'
            )

    def item(self, store: CodesReader, image: int, crop: int, label: int, rng: random.Random) -> RepresentedSample:
        sample = super().item(store, image, crop, label, rng)
        return RepresentedSample(**sample, captions=self.representations.latents(image, crop).T)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random codes and vectors stand in, of RCG's 256 channels."""
        return dict(_replace_=True, type='RandomCaptionedCodes', tokens=1, channels=256)

    @staticmethod
    def collate(samples: Sequence[Any]) -> dict[str, Any]:
        """As `CodesDataset.collate`, with `captions` float32 (B, 1, C)."""
        batch = CodesDataset.collate(samples)
        return batch if batch['error'] else {**batch, 'captions': torch.stack([each['captions'] for each in samples])}
