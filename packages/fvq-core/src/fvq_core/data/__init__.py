"""Datasets, crops, and a loader that resumes exactly."""

from .image_folder import ImageFolder
from .photos import BundledPhotos
from .resize_transforms import BilinearCenterCrop, CenterCrop, OpenCVCenterCrop
from .sample import collate_samples
from .seekable_sampler import SeekableSampler
from .tar_shards import TarShards
from .transforms import ADMCenterCrop, ADMRandomCrop, HorizontalFlip
from .whole_photos import WholePhotos

__all__ = [
    'ADMCenterCrop',
    'ADMRandomCrop',
    'BilinearCenterCrop',
    'BundledPhotos',
    'CenterCrop',
    'HorizontalFlip',
    'ImageFolder',
    'OpenCVCenterCrop',
    'SeekableSampler',
    'TarShards',
    'WholePhotos',
    'collate_samples',
]
