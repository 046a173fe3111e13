"""Datasets, crops, and a loader that resumes exactly."""

from .captioned_codes import CaptionedCodes
from .codes_dataset import CodesDataset
from .image_folder import ImageFolder
from .photos import BundledPhotos
from .random_captioned_codes import RandomCaptionedCodes
from .random_codes import RandomCodes
from .resize_transforms import BilinearCenterCrop, CenterCrop, OpenCVCenterCrop
from .tar_shards import TarShards
from .transforms import ADMCenterCrop, ADMRandomCrop, HorizontalFlip
from .whole_photos import WholePhotos

__all__ = [
    'ADMCenterCrop',
    'ADMRandomCrop',
    'BilinearCenterCrop',
    'BundledPhotos',
    'CaptionedCodes',
    'CenterCrop',
    'CodesDataset',
    'HorizontalFlip',
    'ImageFolder',
    'OpenCVCenterCrop',
    'RandomCaptionedCodes',
    'RandomCodes',
    'TarShards',
    'WholePhotos',
]
