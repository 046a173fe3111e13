"""From a path to the config of the data set that it names."""

from __future__ import annotations

import os
from typing import Any

from ..errors import UserError
from ..files.paths import expand_home
from .folder_listing import few, list_folder


def source_config(path: str) -> dict[str, Any]:
    """The config, without transforms, of a folder of either images or .tar files, or of a .tar path or pattern."""
    path = expand_home(path)
    if not os.path.isdir(path):
        is_tar = path.endswith('.tar') or (path.lower().endswith('.tar') and os.path.isfile(path))
    elif not any(name.lower().endswith('.tar') for name in os.listdir(path)):
        is_tar = False  # without `list_folder`, so that a large folder is listed once
    else:
        listing = list_folder(path)
        if listing.images and listing.tars:
            raise UserError(
                f'{path}: expected images or tar files, got both: {len(listing.images):,} images '
                f'({listing.images[0][0]}, ...) and {len(listing.tars):,} tar files ({few(listing.tars)}); move one kind '
                f"away, or name the tar files: '{os.path.join(path, '*.tar')}'."
            )
        is_tar = bool(listing.tars)
    return dict(type='TarShards', shards=path) if is_tar else dict(type='ImageFolder', root=path)
