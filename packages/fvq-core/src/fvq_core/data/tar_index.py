"""The index of a tar file: one scan of its headers, kept in a cache, gives the offset of every image."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import BAD_VALUE_ERRORS, UserError
from ..files.arrays import read_npz, write_npz
from ..files.bounded import regular_size
from .folder_listing import EXTENSIONS, is_hidden
from .packed_names import PackedNames

FORMAT = 2  # of the cached files; raise it when what they hold changes
MAX_EXAMPLES = 3  # names of members that are left out
COMPRESSED = (b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'\x28\xb5\x2f\xfd')  # starts of gzip, bzip2, xz and zstandard files
TAIL_BYTES = 2**20  # read behind the last member; writers pad with far fewer zeros

logger = logging.getLogger('fvq')


@dataclass(frozen=True)
class ShardIndex:
    """The images of one tar file in its order."""

    names: PackedNames
    labels: np.ndarray  # int64, -1 without a `.cls` member
    offsets: np.ndarray  # int64, position of the first byte of each in the tar file
    sizes: np.ndarray  # int64, in bytes
    others: int  # number of members that are neither image nor label, or hidden; see `is_hidden`
    examples: tuple[str, ...]  # names of the first few of them


class BoundedReader(io.BufferedReader):
    """A file that never allocates more than its size, whatever `tarfile` asks for because of a header."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > tarfile.BLOCKSIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def split_member(name: str) -> tuple[str, str]:
    """Sample key and lower-case extension, split at the first dot of the file name, as in WebDataset."""
    folder, slash, file = name.rpartition('/')
    stem, _, extension = file.partition('.')
    return folder + slash + stem, extension.lower() if stem else ''


def scan_shard(path: str) -> ShardIndex:
    """Read every header of a tar file; raises unless it is plain and whole, and its images can be read by their offset."""
    images: list[tuple[str, int, int]] = []
    labels: dict[str, int] = {}
    others, examples = 0, []
    try:
        regular_size(path, 'name a tar file')
        with BoundedReader(io.FileIO(path)) as file, tarfile.open(fileobj=file, mode='r:') as tar:
            end = -1
            while (member := tar.next()) is not None:
                cast(Any, tar).members.clear()  # which it would all keep
                if tar.offset <= end or member.size < 0:
                    raise tarfile.ReadError(f'{member.name} has a negative size')
                end = tar.offset
                if member.isdir():
                    continue
                key, extension = split_member(member.name)
                shown = not is_hidden(member.name)
                is_image, is_label = shown and f'.{extension}' in EXTENSIONS, shown and extension == 'cls'
                if (is_image or is_label) and (not member.isreg() or member.issparse()):
                    raise UserError(
                        f'TarShards: {path}: {member.name} is a link or sparse, so its bytes are elsewhere; '
                        'write the tar with --hard-dereference --dereference.'
                    )
                if is_image:
                    images.append((member.name, member.offset_data, member.size))
                elif is_label:
                    labels[key] = read_label(path, tar, member)
                else:
                    others += 1
                    examples += [member.name] if others <= MAX_EXAMPLES else []
            end = tar.offset
        check_end(path, end, len(images))
    except tarfile.ReadError as error:
        problem = f'not a tar file, or is truncated after {len(images)} images ({error}); fetch or write it again.'
        if is_compressed(path):
            problem = 'compressed, so that nothing in it can be reached by its offset; decompress it.'
        raise UserError(f'TarShards: {path} is {problem}') from error
    except UserError:
        raise
    except (OSError, MemoryError, *BAD_VALUE_ERRORS) as error:  # impossible sizes, an endless chain of headers
        raise UserError(f'TarShards: {path} cannot be read: {error}; fetch or write it again.') from error
    return ShardIndex(
        PackedNames.pack(name for name, _, _ in images),
        np.array([labels.get(split_member(name)[0], -1) for name, _, _ in images], dtype=np.int64),
        np.array([offset for _, offset, _ in images], dtype=np.int64),
        np.array([size for _, _, size in images], dtype=np.int64),
        others,
        tuple(examples),
    )


def check_end(path: str, end: int, images: int) -> None:
    """Raise if the last header of a tar file is not followed by zeros; `tarfile` accepts any end of file."""
    with open(path, 'rb') as file:
        file.seek(end)
        tail = file.read(TAIL_BYTES)
    if tail and not tail.strip(b'\0'):
        return
    problem = f'truncated: it stops without an end mark after {images} images; fetch or write it again.'
    if len(tail) >= tarfile.BLOCKSIZE:
        several = f'several tars in one: after {images} images, at byte {end}, there is no header, and yet more data'
        problem = f'damaged, or {several}; write it again.'
    raise UserError(f'TarShards: {path} is {problem}')


def read_label(path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    """The whole number in a `.cls` member."""
    file = tar.extractfile(member)
    assert file is not None
    text = file.read(64).decode('ascii', 'replace').strip()
    if not re.fullmatch('-?[0-9]{1,9}', text):
        raise UserError(
            f"TarShards: {path}: {member.name} holds '{text}', which is not a whole number of at most 9 digits."
        )
    return int(text)


def is_compressed(path: str) -> bool:
    """Whether a file starts as gzip, bzip2, xz or zstandard files do."""
    with open(path, 'rb') as file:
        return file.read(6).startswith(COMPRESSED)


def index_shards(paths: Sequence[str], index_dir: str | None) -> list[ShardIndex]:
    """The index of every shard, scanned if the cache has none for this path, size and modification time.

    A cache that cannot be written costs a warning: the next start scans again.
    """
    user_cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    cache = Path(index_dir or Path(user_cache, 'fvq', 'tar_index'))
    indexes, writable = [], True
    for path in paths:
        status = Path(path).stat()
        identity = f'{FORMAT}\n{os.path.realpath(path)}\n{status.st_size}\n{status.st_mtime_ns}'
        kept = cache / f'{hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]}.npz'
        index = read_index(kept)
        if index is None:
            index = scan_shard(path)
            try:
                if writable:
                    write_index(index, kept)
            except (OSError, UserError) as error:
                writable = False
                logger.warning(f'the index of tar shards is not kept ({error}); set index_dir to a writable folder')
        indexes.append(index)
    return indexes


def write_index(index: ShardIndex, path: Path) -> None:
    """Write an index all or nothing, even if several processes do so at once."""
    arrays = dict(labels=index.labels, offsets=index.offsets, sizes=index.sizes, others=index.others)
    arrays['examples'] = np.array([os.fsencode(name) for name in index.examples], dtype=np.bytes_)
    names = dict(text=index.names.text, ends=index.names.ends)
    write_npz(path, {**names, **arrays}, 'The next start scans again.')


def read_index(path: Path) -> ShardIndex | None:
    """A cached index; None if there is none that can be read."""
    try:
        kept = read_npz(path)
        names = PackedNames(kept['text'], kept['ends'])
        examples = tuple(os.fsdecode(bytes(name)) for name in kept['examples'])
        return ShardIndex(names, kept['labels'], kept['offsets'], kept['sizes'], int(kept['others']), examples)
    except (ValueError, KeyError, TypeError):
        return None
