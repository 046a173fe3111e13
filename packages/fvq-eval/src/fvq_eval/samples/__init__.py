"""Sets of images that are scored: folders, npz, tar and zip files; bad ones are refused by name."""

from .open_samples import open_samples
from .samples import BLOCK, Samples

__all__ = ['BLOCK', 'Samples', 'open_samples']
