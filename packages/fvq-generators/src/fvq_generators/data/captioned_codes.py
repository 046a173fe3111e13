"""Codes with the features of captions: what a text-to-image generator trains on."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.paths import expand_home
from fvq_core.registry import DATASETS

from .caption_features import CaptionError, no_caption, pad_left, read_features
from .caption_names import CaptionsByName, NumberedCaptions
from .codes_dataset import CodesDataset, CodesSample

PROBED = 32  # images looked at before training: a folder without a caption for any of them is the wrong one


class CaptionedSample(CodesSample):
    """A `CodesSample` with `captions` float32 (T, C), `caption_mask` bool (T,), `valid` 1 or 0, and why it is 0."""

    captions: Tensor
    caption_mask: Tensor
    valid: float
    unreadable: list[str]


@DATASETS.register_module()
class CaptionedCodes(CodesDataset):
    """`CodesDataset` with a file of caption features for each image.

    The file of an image is called by the image's number in its codes, `captions/0.npy`, `captions/1.npy`, ...; see
    `NumberedCaptions` for how images are numbered. With `images` it is called like the image: of `images/cats/3.jpg` it is
    `captions/cats/3.npy`, of `3.jpg` in `00007.tar` it is `captions/00007/3.npy`, and that these are the images that the codes
    were made of is checked. LlamaGen's `LIST/LINE.npy` fit images `LIST/LINE.jpg`.

    Each is a `.npy` file of floats (1, n, C), as LlamaGen writes them, or (n, C). As released, captions stand at the end of T
    positions; of longer ones the first T vectors are kept; and an image whose file is missing, damaged or empty stays in its
    batch with `valid` 0, by which the loss leaves it out. So it is with features that are not finite. Such files are counted
    and logged like unreadable images, and end the run if there are too many (`max_unreadable` of the data loader).

    What an item holds is a function only of seed and position, as in `CodesDataset`.

    Args:
        root: See `CodesDataset`.
        captions: The folder of features.
        images: What the codes were extracted from, for captions that are named like their images.
        tokens: T, the positions of a caption; `caption_tokens` of the generator.
        channels: C, the channels of the text encoder; `caption_dim` of the generator. Flan-T5-XL has 2,048.
        short_captions: A second folder with features of shorter captions, as in LlamaGen's second stage.
        short_share: How often an image comes with the short one.
        tar_labels: Labels of `images` in tars, as the codes were extracted.
        layout, tokenizer_hash: See `CodesDataset`.
        seed: Seed of the choice of crops and captions.

    """

    def __init__(
        self,
        root: str | Sequence[str],
        captions: str,
        images: str | None = None,
        tokens: int = 120,
        channels: int = 2048,
        short_captions: str | None = None,
        short_share: float = 0.3,
        tar_labels: Literal['cls', 'shard'] = 'cls',
        layout: Mapping[str, Any] | None = None,
        tokenizer_hash: str = '',
        seed: int = 0,
    ) -> None:
        super().__init__(root, layout, tokenizer_hash, seed)
        if tokens < 1 or channels < 1 or not 0 <= short_share <= 1:
            raise UserError(
                f'CaptionedCodes: tokens {tokens} and channels {channels} must be 1 or more, short_share {short_share} a '
                'share from 0 to 1.'
            )
        self.tokens, self.channels, self.short_share = tokens, channels, short_share
        self.names = (
            NumberedCaptions(self.stores) if images is None else CaptionsByName(images, self.stores, tar_labels)
        )
        self.folders = [Path(expand_home(folder)) for folder in (captions, short_captions) if folder is not None]
        for folder in self.folders:
            self._probe(folder)

    def _probe(self, folder: Path) -> None:
        probed = range(0, len(self), max(1, len(self) // PROBED))
        if not any((folder / self.names[image]).is_file() for image in probed):
            raise UserError(
                f'CaptionedCodes: {folder} has no caption for any of {len(probed)} images, the first would be '
                f"{folder / self.names[0]}; name the files by the images' numbers, or like the images with images='FOLDER'."
            )

    def __getitem__(self, index: int | tuple[int, int]) -> CaptionedSample:
        """A crop of the image at an index and its caption, or in training at (index, position in the data order)."""
        number, position = index if isinstance(index, tuple) else (index, index)
        sample, unreadable = super().__getitem__(index), []
        captions_TC, mask_T = no_caption(self.tokens, self.channels)
        if 'error' not in sample:
            path = self._path(number, position)
            try:
                captions_TC, mask_T = pad_left(read_features(path, self.tokens, self.channels), self.tokens)
            except CaptionError as error:
                unreadable.append(f'{path} ({error})')
            except UserError as error:
                sample = CodesSample(codes=None, label=-1, error=str(error))
        valid = 0.0 if unreadable or 'error' in sample else 1.0
        return CaptionedSample(**sample, captions=captions_TC, caption_mask=mask_T, valid=valid, unreadable=unreadable)

    def _path(self, number: int, position: int) -> Path:
        """The file of an image at a position of the data order."""
        short = len(self.folders) > 1 and random.Random(f'{self.seed}/{position}/caption').random() < self.short_share
        return self.folders[short] / self.names[number]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random codes and captions stand in."""
        sizes = {key: cfg[key] for key in ('tokens', 'channels') if key in cfg}
        return dict(_replace_=True, type='RandomCaptionedCodes', **sizes)

    @staticmethod
    def collate(samples: Sequence[CaptionedSample]) -> dict[str, Any]:  # pyrefly: ignore[bad-override]
        """As `CodesDataset.collate`, with `captions` float32 (B, T, C), `caption_mask` bool (B, T) and `valid` float32 (B,)."""
        return {
            **CodesDataset.collate(samples),
            'captions': torch.stack([sample['captions'] for sample in samples]),
            'caption_mask': torch.stack([sample['caption_mask'] for sample in samples]),
            'valid': torch.tensor([sample['valid'] for sample in samples]),
            'unreadable': [name for sample in samples for name in sample['unreadable']],
        }
