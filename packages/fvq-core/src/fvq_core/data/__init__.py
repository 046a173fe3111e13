"""Datasets, crops, and a loader that resumes exactly."""

from .image_folder import ImageFolder
from .photos import BundledPhotos
from .sample import collate_samples
from .seekable_sampler import SeekableSampler
from .tar_shards import TarShards
from .transforms import ADMCenterCrop, ADMRandomCrop, HorizontalFlip

__all__ = ['ADMCenterCrop', 'ADMRandomCrop', 'BundledPhotos', 'HorizontalFlip', 'ImageFolder', 'SeekableSampler']
__all__ += ['TarShards', 'collate_samples']
