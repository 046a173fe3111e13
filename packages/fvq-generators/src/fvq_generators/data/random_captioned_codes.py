"""Codes and captions without files: what a smoke run of a text-to-image generator trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fvq_core.registry import DATASETS

from .caption_features import no_caption, pad_left
from .captioned_codes import CaptionedCodes, CaptionedSample
from .random_codes import RandomCodes

WITHOUT_CAPTION = 8  # every eighth image


@DATASETS.register_module()
class RandomCaptionedCodes(RandomCodes):
    """`RandomCodes` with captions of every length, drawn from a normal distribution; every eighth image has none.

    Args:
        layout: Layout of the codes, as a dict.
        images: Number of images.
        classes: Labels go round them.
        tokens: T, the positions of a caption.
        channels: C, of its features.
    """

    collate = staticmethod(CaptionedCodes.collate)  # pyrefly: ignore[bad-override]

    def __init__(
        self, layout: Mapping[str, Any], images: int = 32, classes: int = 10, tokens: int = 120, channels: int = 2048
    ) -> None:
        super().__init__(layout, images, classes)
        self.tokens, self.channels = tokens, channels

    def __getitem__(self, index: int | tuple[int, int]) -> CaptionedSample:
        number = index[0] if isinstance(index, tuple) else index
        draws = torch.Generator().manual_seed(number)
        length = 1 + number % self.tokens
        captions_TC, mask_T = pad_left(torch.randn(length, self.channels, generator=draws).numpy(), self.tokens)
        valid = float(number % WITHOUT_CAPTION != WITHOUT_CAPTION - 1)
        if not valid:
            captions_TC, mask_T = no_caption(self.tokens, self.channels)
        sample = super().__getitem__(index)
        return CaptionedSample(**sample, captions=captions_TC, caption_mask=mask_T, valid=valid, unreadable=[])
