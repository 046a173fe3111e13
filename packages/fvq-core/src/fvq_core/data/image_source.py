"""From a path to the config of the data set that it names."""

from __future__ import annotations

import os
from typing import Any

from ..errors import UserError
from ..files.paths import expand_home
from .folder_listing import few, list_folder


def source_config(path: str) -> dict[str, Any]:
    """The config of the images that a path names.

    Args:
        path: A folder of images, a folder of .tar files, or a .tar path or pattern.

    Returns:
        The config of an `ImageFolder` or `TarShards`, without transforms.

    Raises:
        UserError: A folder of both images and tar files.
    """
    path = expand_home(path)
    if not os.path.isdir(path):
        is_tar = path.lower().endswith('.tar') and (path.endswith('.tar') or os.path.isfile(path))
        return dict(type='TarShards', shards=path) if is_tar else dict(type='ImageFolder', root=path)
    with os.scandir(path) as entries:
        if not any(entry.name.lower().endswith('.tar') for entry in entries):
            return dict(type='ImageFolder', root=path)  # which lists it, so that a large one is listed once
    listing = list_folder(path)
    if listing.images and listing.tars:
        raise UserError(
            f'{path}: expected images or tar files, got both: {len(listing.images):,} images ({listing.images[0][0]}, ...) and '
            f'{len(listing.tars):,} tar files ({few(listing.tars)}); move one kind away, or name the tar files: '
            f"'{os.path.join(path, '*.tar')}'."
        )
    return dict(type='TarShards', shards=path) if listing.tars else dict(type='ImageFolder', root=path)
