"""The images of a folder, listed the same way for training, extraction, evaluation and `check_data`."""

from __future__ import annotations

import functools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mmengine.dist import get_rank, is_main_process

from ..errors import UserError
from ..files.paths import printable
from ..progress import Progress

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.tif', '.tiff', '.avif')
ARCHIVES = ('.tar', '.zip', '.tgz', '.tar.gz', '.tar.bz2', '.tar.xz', '.tar.zst', '.7z', '.rar')
# Folders that operating systems and network drives create; those that start with a dot need no list.
SYSTEM_FOLDERS = ('__macosx', '@eadir', 'lost+found', '$recycle.bin', 'system volume information', '__pycache__')
SYSTEM_FOLDERS += ('#recycle', '@recycle', '#snapshot', '~snapshot', 'network trash folder', 'temporary items')


@dataclass
class FolderListing:
    """The images of a folder, and what is left out. Paths are below the root.

    `images` has the path and label of each: those of class folders sorted by path, then those directly in the root, which
    have label -1. `classes` counts them by class folder, sorted by name; the label is the position in this order, and a
    class folder without images keeps its label.
    """

    root: str
    images: list[tuple[str, int]] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    archives: list[str] = field(default_factory=list)  # directly in the root
    hidden: list[str] = field(default_factory=list)  # `.ipynb_checkpoints`, `._x.jpg`, and `SYSTEM_FOLDERS`
    loops: list[str] = field(default_factory=list)  # links to a folder above, or to one that was linked before
    others: Counter[str] = field(default_factory=Counter)  # files that are not images, by extension

    @property
    def flat(self) -> list[str]:
        """Names of the images directly in the root."""
        return [name for name, _ in self.images[sum(self.classes.values()) :]]

    @property
    def tars(self) -> list[str]:
        """Names of the tar files directly in the root, sorted."""
        return [name for name in self.archives if name.lower().endswith('.tar')]

    def odd(self) -> list[str]:
        """What is left out, or may be unintended, in lines."""
        empty = [name for name, count in self.classes.items() if not count]
        kinds = [
            (empty, 'class folders without an image still take a label'),
            (self.flat if self.classes else [], 'images beside the class folders get the label -1'),
            (self.hidden, 'hidden files and folders are left out'),
            (self.loops, 'linked folders lead back and are left out'),
        ]
        found = [f'{len(names):,} {what}: {few(names)}' for names, what in kinds if names]
        if self.archives:
            found.append(f'archives are left out: {few(self.archives)}')
        if self.others:
            others = few(f'{count:,} {extension}' for extension, count in self.others.most_common())
            found.append(f'{self.others.total():,} files are not images and are left out: {others}')
        return found


def is_hidden(path: str) -> bool:
    """Whether a name, or any part of a path, is hidden or a folder of an operating system."""
    return any(
        part.lower() in SYSTEM_FOLDERS or (part.startswith('.') and part not in ('.', '..')) for part in path.split('/')
    )


def list_folder(root: str) -> FolderListing:
    """List a folder: class folders, which may contain nested folders, and images directly in it.

    Linked folders are followed, as torchvision's `ImageFolder` does, but never in a circle. Extensions may be in either case.
    """
    if not os.path.isdir(root):
        raise UserError(f'{root} is not a folder.')
    listing, real_root = FolderListing(root), os.path.realpath(root)
    entries, flat, rank = scan(root), [], get_rank()
    for entry in Progress.each(entries, f'listing {printable(root)}', len(entries), 'name', rank):
        path, name = entry.name, entry.name.lower()
        if is_hidden(path):
            listing.hidden.append(path)
        elif is_folder(entry):
            real = os.path.realpath(entry.path)
            if real == real_root or real_root.startswith(os.path.join(real, '')):
                listing.loops.append(path)
                continue
            found = list(walk(listing, path, real, (real_root, real)))
            listing.images += [(image, len(listing.classes)) for image in found]
            listing.classes[path] = len(found)
        elif name.endswith(EXTENSIONS) and is_file(entry):
            flat.append((path, -1))
        elif name.endswith(ARCHIVES):
            listing.archives.append(path)
        else:
            listing.others[os.path.splitext(name)[1] or 'without extension'] += 1
    listing.images.sort()
    listing.images += flat
    return listing


def walk(listing: FolderListing, top: str, real_top: str, above: tuple[str, ...]) -> Iterator[str]:
    """The images of a class folder, in no particular order; what is left out is added to the listing of the root.

    `top` is the path of the class folder below the root, `above` holds the real paths of it and the folders above it.
    """
    linked = {real_top}
    folders = [(top, real_top, above)]
    while folders:
        folder, real, above = folders.pop()
        inside = []
        for entry in scan(os.path.join(listing.root, folder)):
            path, name = f'{folder}/{entry.name}', entry.name.lower()
            if is_hidden(entry.name):
                listing.hidden.append(path)
            elif name.endswith(EXTENSIONS) and is_file(entry):
                yield path
            elif is_folder(entry):
                link = entry.is_symlink()
                target = os.path.realpath(entry.path) if link else os.path.join(real, entry.name)
                if target in above or (link and target in linked):
                    listing.loops.append(path)
                    continue
                linked.update([target] if link else [])
                inside.append((path, target, (*above, target)))
            else:
                listing.others[os.path.splitext(name)[1] or 'without extension'] += 1
        folders += reversed(inside)


def scan(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; raises if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f'{folder} cannot be listed: {error.strerror}; make it readable, or move it away.') from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; False for circular links."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a link; links are not followed, which would be slow for a million of them."""
    return entry.is_file(follow_symlinks=False) or entry.is_symlink()


@functools.cache
def warn_left_out(message: str) -> None:
    """Log what is left out of a data set; only the main process does, and each message once."""
    if is_main_process():
        logging.getLogger('fvq').warning(printable(message))


def few(names: Iterable[str]) -> str:
    """The first few names, and the number of the others."""
    listed = list(names)
    return ', '.join(listed[:5]) + (f' and {len(listed) - 5:,} more' if len(listed) > 5 else '')
