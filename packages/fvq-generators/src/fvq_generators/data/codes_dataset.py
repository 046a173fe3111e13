"""Codes as training data: a random one of an image's crops each time it comes up."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fvq_core.codes import LatentLayout
from fvq_core.data.sample import sample_rng
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from ..codes_store import open_codes
from ..codes_store.reader import CodesReader


class CodesSample(TypedDict):
    """One crop of one image: `codes` int64 (L,) or `latents` float32 (D, ...), its class, and a user's error carried out of
    a loader process."""

    codes: NotRequired[Tensor | None]
    latents: NotRequired[Tensor]
    label: int
    error: NotRequired[str]


@DATASETS.register_module()
class CodesDataset(Dataset):
    """The codes or latents of a store, or of several stores of the same images, mixed evenly as LlamaGen mixes two crop ranges.

    Which crop is shown, and which latent is drawn from stored moments, is a function only of the seed and the position in the
    data order, so a run resumes exactly from any position, with any number of workers, and another is drawn in each epoch.
    Without a position (in an evaluation) it is fixed for each image.

    Args:
        root: A folder that `tools/extract_codes.py` wrote, or LlamaGen's with `NAME_codes` and `NAME_labels`; or a list.
        layout, tokenizer_hash: For LlamaGen's folders; see `LlamaGenFolder`.
        seed: Seed of the choice of crops.
        labels: False gives every image class 0: for a generator without classes.
        every_crop: Make an item of each crop, as validation wants, instead of one of each image; of one store.
        means: Of stored moments the mean, which is what an autoencoder's codes are made of, instead of a draw.

    Attributes:
        layout: The `CodeLayout` or `LatentLayout` of every item.
        tokenizer_hash: Fingerprint of the tokenizer whose codes they are; empty for a LlamaGen folder.

    Raises:
        UserError: See `CodesStore`; or stores that do not belong together.
    """

    def __init__(
        self,
        root: str | Sequence[str],
        layout: Mapping[str, Any] | None = None,
        tokenizer_hash: str = '',
        seed: int = 0,
        labels: bool = True,
        every_crop: bool = False,
        means: bool = False,
    ) -> None:
        roots = [root] if isinstance(root, str) else list(root)
        if not roots:
            raise UserError('CodesDataset: root names no folder; name one that tools/extract_codes.py wrote.')
        self.stores = [open_codes(folder, layout, tokenizer_hash) for folder in roots]
        first = self.stores[0]
        for other in self.stores[1:]:
            both = f'CodesDataset: {first.root} and {other.root}'
            for what in ('layout', 'tokenizer_hash'):
                if getattr(first, what) != getattr(other, what):
                    raise UserError(f'{both} differ in {what.replace("_", " ")}; mix stores of one tokenizer.')
            if len(first) != len(other):
                raise UserError(f'{both} have {len(first):,} and {len(other):,} images; mix stores of the same images.')
        if every_crop and len(roots) > 1:
            raise UserError(f'CodesDataset: every_crop takes one store, got {len(roots)}; name one of them.')
        self.crops_apart = first.num_crops if every_crop else 1
        self.labels, self.means = labels, means
        self.seed, self.layout, self.tokenizer_hash = seed, first.layout, first.tokenizer_hash

    def __len__(self) -> int:
        return len(self.stores[0]) * self.crops_apart

    def __getitem__(self, index: int | tuple[int, int]) -> CodesSample:
        """A crop of the image at an index, or in training at (index, position in the data order)."""
        number, position = index if isinstance(index, tuple) else (index, index)
        rng = sample_rng(self.seed, position)
        store = rng.choice(self.stores)
        number, crop = divmod(number, self.crops_apart)
        try:
            label = self.stores[0].label(number)
            if store is not self.stores[0] and store.label(number) != label:
                raise UserError(
                    f'CodesDataset: image {number} has label {label} in {self.stores[0].root} and {store.label(number)} '
                    f'in {store.root}; mix stores of the same images.'
                )
            label = label if self.labels else 0
            if self.crops_apart == 1:
                crop = rng.randrange(store.num_crops)
            return self.item(store, number, crop, label, rng)
        except UserError as error:
            return CodesSample(codes=None, label=-1, error=str(error))

    def item(self, store: CodesReader, image: int, crop: int, label: int, rng: random.Random) -> CodesSample:
        """A crop of an image of one of the stores."""
        if isinstance(self.layout, LatentLayout):
            draws = None if self.means else torch.Generator().manual_seed(rng.getrandbits(63))
            return CodesSample(latents=store.latents(image, crop, draws), label=label)
        return CodesSample(codes=store.codes(image, crop), label=label)

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise if a tokenizer, or its hash, is not that of these codes."""
        for store in self.stores:
            store.check_tokenizer(tokenizer)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random codes stand in for a store."""
        return dict(_replace_=True, type='RandomCodes')

    @staticmethod
    def collate(samples: Sequence[CodesSample]) -> dict[str, Any]:
        """`codes` int64 (B, L) or `latents` (B, D, ...), `labels` int64 (B,), and `unreadable` and `error`, as every batch has
        them."""
        error = next((sample['error'] for sample in samples if 'error' in sample), None)
        name = 'latents' if 'latents' in samples[0] else 'codes'
        return {
            name: torch.stack([cast(Any, sample)[name] for sample in samples]) if error is None else None,
            'labels': torch.tensor([sample['label'] for sample in samples], dtype=torch.int64),
            'unreadable': [],
            'error': error,
        }
