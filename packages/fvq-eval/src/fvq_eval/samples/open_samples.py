"""From a path to a set of images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.image_source import source_config
from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError
from fvq_core.files.paths import expand_home

from .bundled import BUNDLED, BundledSamples
from .image_files import ImageFileSamples
from .npz_images import NpzImages
from .samples import Samples
from .zip_images import ZipImages

PROGRAMS = ('.pkl', '.pickle')
FORMS = 'a folder, an npz, a tar or a zip of images'


def open_samples(path: str, convert: bool = False, crop: Mapping[str, Any] | None = None, workers: int = 4) -> Samples:
    """Open a set of images; the pixels are read later.

    Args:
        path: A folder of images (class folders inside give labels) or of .tar shards, an npz with `arr_0`, a .tar file,
            a pattern of tar files such as `samples-{00..07}.tar`, a zip, or `bundled` for crops of the ten bundled photos.
            The order is that of names in a folder or a zip, and that of the file elsewhere.
        convert: Make greyscale, palette, CMYK and opaque RGBA files RGB instead of refusing them.
        crop: Config of a transform of `size` pixels that files are cut with, so that they need not be of one size.

    Raises:
        UserError: It does not exist, is none of these, or holds no usable image.
    """
    path = expand_home(path)
    if path == BUNDLED:
        if not crop:
            raise UserError('bundled: expected a size, got none; set it with --crop 64.')
        return BundledSamples(crop['size'])
    if os.path.isdir(path):
        return open_folder(path, convert, crop, workers)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == '.tar':
        return open_tar(path, convert, crop, workers)
    if not os.path.exists(path):
        raise UserError(f'{path}: expected {FORMS}, got nothing: it does not exist.')
    if suffix in PROGRAMS:
        raise UserError(
            f'{path}: expected {FORMS}, got a pickle, which is a program and is not run; draw samples with the code that it '
            'comes with, in an environment of its own, and score those.'
        )
    if suffix == '.zip':
        images = ZipImages(path)
        return ImageFileSamples(path, 'zip', images, images.labels, convert, crop, workers)
    if suffix != '.npz':
        raise UserError(
            f"{path}: expected {FORMS}, got '{os.path.basename(path)}'; put images into a folder, an array into "
            'np.savez(path, images).'
        )
    samples = NpzImages(path)
    if crop and (samples.height, samples.width) != (crop['size'], crop['size']):
        own = f'use --crop {samples.height}' if samples.height == samples.width else 'leave out --crop'
        raise UserError(
            f'{path}: expected {crop["size"]}x{crop["size"]} images, got {samples.height}x{samples.width}; an npz is not '
            f'cropped: {own}, or give image files.'
        )
    return samples


def open_folder(path: str, convert: bool, crop: Mapping[str, Any] | None, workers: int) -> Samples:
    """A folder of images or of tar shards."""
    if not os.listdir(path):
        raise UserError(f'{path}: expected images or .tar files, got an empty folder; name the folder that holds them.')
    if source_config(path)['type'] == 'TarShards':
        return open_tar(path, convert, crop, workers)
    folder = ImageFolder(path)
    return ImageFileSamples(path, 'folder', folder, folder.labels, convert, crop, workers)


def open_tar(path: str, convert: bool, crop: Mapping[str, Any] | None, workers: int) -> Samples:
    """Tar files of images."""
    shards = TarShards(path)
    return ImageFileSamples(path, 'tar', shards, shards.labels, convert, crop, workers)
