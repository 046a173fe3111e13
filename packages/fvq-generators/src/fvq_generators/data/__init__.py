"""Data sets of codes, with classes or captions or representations."""

from .captioned_codes import CaptionedCodes
from .codes_dataset import CodesDataset
from .random_captioned_codes import RandomCaptionedCodes
from .random_codes import RandomCodes
from .represented_codes import RepresentedCodes

__all__ = ['CaptionedCodes', 'CodesDataset', 'RandomCaptionedCodes', 'RandomCodes', 'RepresentedCodes']
