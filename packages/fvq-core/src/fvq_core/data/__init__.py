"""Datasets, crops, and a loader that resumes exactly."""

from .codes_dataset import CodesDataset
from .image_folder import ImageFolder
from .photos import BundledPhotos
from .random_codes import RandomCodes
from .resize_transforms import BilinearCenterCrop, CenterCrop, OpenCVCenterCrop
from .tar_shards import TarShards
from .transforms import ADMCenterCrop, ADMRandomCrop, HorizontalFlip

__all__ = [
    'ADMCenterCrop',
    'ADMRandomCrop',
    'BilinearCenterCrop',
    'BundledPhotos',
    'CenterCrop',
    'CodesDataset',
    'HorizontalFlip',
    'ImageFolder',
    'OpenCVCenterCrop',
    'RandomCodes',
    'TarShards',
]
