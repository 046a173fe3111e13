"""What lies in a folder of images, counted without opening a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import UserError
from .image_dataset import EXTENSIONS


@dataclass
class Census:
    """Counts of what `ImageFolder` would find.

    Attributes:
        root: The folder.
        classes: Images in each class folder.
        flat: Names of images right inside.
        archives: Names of .tar and .zip files right inside.
        others: Number of files that are no image.
    """

    root: str
    classes: dict[str, int] = field(default_factory=dict)
    flat: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    others: int = 0

    @property
    def images(self) -> int:
        """All of them."""
        return sum(self.classes.values()) + len(self.flat)

    def odd(self) -> list[str]:
        """What works, but may not be meant."""
        empty = [name for name, count in self.classes.items() if not count]
        found = []
        if empty:
            found.append(f'{len(empty):,} class folders without an image still take a label: {few(empty)}')
        if self.classes and self.flat:
            found.append(f'{len(self.flat):,} images beside the class folders get the label -1: {few(self.flat)}')
        if self.others:
            found.append(f'{self.others:,} files are no image and are left out')
        if self.archives:
            found.append(f'archives are left out: {few(self.archives)}')
        return [f'odd: {line}' for line in found]


def take_census(root: str) -> Census:
    """Count.

    Raises:
        UserError: There is no such folder.
    """
    if not os.path.isdir(root):
        raise UserError(f'{root} is not a folder.')
    census = Census(root)
    with os.scandir(root) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        name = entry.name.lower()
        if entry.is_dir():
            files = [file.lower() for _, _, files in os.walk(entry.path) for file in files]
            census.classes[entry.name] = sum(file.endswith(EXTENSIONS) for file in files)
            census.others += len(files) - census.classes[entry.name]
        elif name.endswith(EXTENSIONS):
            census.flat.append(entry.name)
        elif name.endswith(('.tar', '.zip')):
            census.archives.append(entry.name)
        else:
            census.others += 1
    return census


def few(names: Iterable[str]) -> str:
    """The first names of many."""
    listed = list(names)
    return ', '.join(listed[:5]) + (f' and {len(listed) - 5:,} more' if len(listed) > 5 else '')
