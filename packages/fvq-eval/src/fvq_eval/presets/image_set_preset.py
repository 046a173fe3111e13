"""The part of a preset that applies to image files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..statistics.conventions import FeatureConventions
from .protocol_facts import ProtocolFacts

AS_THEY_ARE = 'none, pixels as the files hold them'


@dataclass(frozen=True)
class ImageSetPreset(ProtocolFacts):
    """A preset as `tools/evaluate.py` applies it: the files' own pixels, and only scores of features.

    Attributes:
        crop: What files were cut to, in words.
        codec: Codec that samples and reference go through before features are extracted.
        reference: What the images were compared with, in words; None for nothing.
        preprocessing: How pixels reached it, in words.
    """

    name: str
    source: str
    crop: str
    codec: Literal['jpeg'] | None
    reference: str | None
    extractor: str
    preprocessing: str
    features: FeatureConventions
    samples: int
    samples_from: Literal['protocol', 'user']
