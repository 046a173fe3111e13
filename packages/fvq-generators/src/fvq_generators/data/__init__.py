"""Data sets of codes, with classes or captions."""

from .captioned_codes import CaptionedCodes
from .codes_dataset import CodesDataset
from .random_captioned_codes import RandomCaptionedCodes
from .random_codes import RandomCodes

__all__ = ['CaptionedCodes', 'CodesDataset', 'RandomCaptionedCodes', 'RandomCodes']
