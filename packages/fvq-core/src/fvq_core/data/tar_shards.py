"""Images in tar files, read by their offset: one large file in place of thousands of small ones."""

from __future__ import annotations

import itertools
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from ..files.paths import expand_home
from ..registry import DATASETS
from .decoding import Orientation, check_bytes
from .folder_listing import EXTENSIONS, is_hidden, list_folder, warn_left_out
from .image_dataset import ImageDataset
from .packed_names import PackedNames
from .tar_index import index_shards

MAX_OPEN_FILES = 64  # per process; the limit of the system is often 1,024


def expand_braces(pattern: str) -> list[str]:
    """`a{08..10}b` to a08b, a09b, a10b, and `{x,y}` to both: as in a shell and in WebDataset."""
    pieces = re.split(r'\{([^{}]*)\}', pattern)
    choices = [[piece] for piece in pieces]
    for number in range(1, len(pieces), 2):
        choices[number] = pieces[number].split(',')
        if ends := re.fullmatch(r'(\d+)\.\.(\d+)', pieces[number]):
            first, last = map(int, ends.groups())
            if first > last:
                raise UserError(f'TarShards: {{{pieces[number]}}} in {pattern} runs backwards.')
            choices[number] = [f'{value:0{len(ends[1])}d}' for value in range(first, last + 1)]
    return [''.join(chosen) for chosen in itertools.product(*choices)]


def find_shards(shards: str | Sequence[str]) -> list[str]:
    """The tar files that a folder, a path, a pattern or a list of these names, in order.

    A pattern may have braces, and wildcards in the file name, which skip hidden files. Images and other archives beside the
    tar files of a folder are not read; they are logged. Raises if one does not exist, or there is none.
    """
    found: list[str] = []
    patterns = shards if isinstance(shards, Sequence) and not isinstance(shards, str) else [shards]
    for pattern in map(expand_home, patterns):
        if os.path.isdir(pattern):
            listing = list_folder(pattern)
            others = dict(images=len(listing.images), archives=len(listing.archives) - len(listing.tars))
            for what in filter(others.get, others):
                warn_left_out(f'{pattern}: {others[what]:,} {what} beside the tar files are left out')
            found += [os.path.join(pattern, name) for name in listing.tars]
        else:
            for path in [pattern] if os.path.exists(pattern) else expand_braces(pattern):
                found += [path] if os.path.exists(path) else wildcards(path) or [path]
    if not found:
        raise UserError(f'TarShards: no .tar file in {shards}.')
    if missing := [path for path in found if not os.path.isfile(path)]:
        raise UserError(f'TarShards: {len(missing)} of {len(found)} tar files do not exist, the first is {missing[0]}.')
    return [os.path.abspath(path) for path in found]


def wildcards(path: str) -> list[str]:
    """The files that match a path with wildcards in its last part, sorted."""
    folder, name = Path(path).parent, Path(path).name
    files = folder.glob(name) if name else ()
    return sorted(str(file) for file in files if name.startswith('.') or not is_hidden(file.name))


class OpenFiles:
    """The most recently used files, kept open for reading; each process opens its own.

    Reading by offset moves no file position, so a file that was open when a process forked serves both.
    """

    def __init__(self) -> None:
        self.descriptors: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Bytes of a file; an OSError if it cannot be opened or ends too early."""
        if path not in self.descriptors:
            self.descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self.descriptors) > MAX_OPEN_FILES:
                os.close(self.descriptors.popitem(last=False)[1])
        self.descriptors.move_to_end(path)
        data = os.pread(self.descriptors[path], size, offset)
        if len(data) < size:
            raise OSError(f'{path} ends {size - len(data)} bytes too early')
        return data

    def __reduce__(self) -> tuple[type[OpenFiles], tuple[()]]:
        return OpenFiles, ()  # a descriptor is meaningless in a process that was not forked from this one

    def __del__(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)


@DATASETS.register_module()
class TarShards(ImageDataset):
    """RGB images of POSIX tar files: members NAME.jpg or .png, and optionally NAME.cls with the label in digits.

    WebDataset and `tar cf` of a folder of images write such files. Unlike WebDataset's stream, the order is that of every
    other dataset and can be entered anywhere. The tars must not be compressed. Their headers are read once; the index is
    cached for each path, size and modification time.

    Args:
        shards: A folder of .tar files, a path, a pattern such as `train-{000000..000146}.tar` or `n*.tar`, or a list.
        labels: `'cls'` takes them from the .cls members, -1 without one; `'shard'` is the number of the tar, for one tar
            per class as in ImageNet's archive.
        index_dir: Folder in which the index is cached; by default `fvq/tar_index` in the user's cache folder.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        transforms: Sequence[Mapping[str, Any]] = (),
        labels: Literal['cls', 'shard'] = 'cls',
        index_dir: str | None = None,
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        super().__init__(transforms, decoder, seed, exif_orientation)
        if labels not in ('cls', 'shard'):
            raise UserError(f"TarShards: labels must be 'cls' or 'shard', got '{labels}'.")
        self.shards = find_shards(shards)
        indexes = index_shards(self.shards, index_dir)
        counts = [len(index.names) for index in indexes]
        if not sum(counts):
            raise UserError(
                f'TarShards: no image ({", ".join(EXTENSIONS)}) in the {len(counts)} tar file(s) of {shards}.'
            )
        self.names = PackedNames.join([index.names for index in indexes])
        self.shard_numbers = np.repeat(np.arange(len(counts)), counts)
        self.offsets = np.concatenate([index.offsets for index in indexes])
        self.sizes = np.concatenate([index.sizes for index in indexes])
        self.labels = np.concatenate([index.labels for index in indexes]) if labels == 'cls' else self.shard_numbers
        self.others = sum(index.others for index in indexes)
        if self.others:
            examples = ', '.join([name for index in indexes for name in index.examples][:3])
            warn_left_out(f'{self.shards[0]}: {self.others:,} members of tar files are left out, such as {examples}')
        self.files = OpenFiles()

    def name(self, number: int) -> str:
        return f'{self.shards[self.shard_numbers[number]]}:{self.names[number]}'

    def read(self, number: int) -> bytes:
        check_bytes(int(self.sizes[number]))
        shard = self.shards[self.shard_numbers[number]]
        return self.files.read(shard, int(self.offsets[number]), int(self.sizes[number]))
