"""Tar shards behind any address that fsspec opens, read from their beginning to their end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fvq_core.data.decoding import MAX_BYTES
from fvq_core.data.folder_listing import EXTENSIONS, is_hidden
from fvq_core.data.tar_index import COMPRESSED
from fvq_core.errors import UserError

from .image_stream import StreamedImage
from .retry import reason

TIMEOUT_S = 60.0  # without a byte from a server
LABEL = re.compile(rb'\s*(-?[0-9]{1,9})\s*')
PACKED = (
    *COMPRESSED,
    b'\x5d\x00\x00\x80',
)  # the last of lzma; `tarfile` would unpack it too, past the bound of a member
ADDRESS = re.compile(r'[a-z][a-z0-9+.-]*://')


class TarStream:
    """Shards of WebDataset: NAME.jpg (or another image) and optionally NAME.cls with the label in digits.

    Transport is fsspec's, the walk through a tar and its samples is that of the `webdataset` package; members stay bytes, so
    nothing in a shard is unpickled or run.

    Args:
        urls: Addresses, such as `https://HOST/train-000000.tar` or `s3://BUCKET/...`, or paths.
        options: For fsspec's file system, such as `dict(anon=True)` for S3.
    """

    def __init__(self, urls: list[str], options: dict[str, Any] | None = None) -> None:
        self.urls, self.options = urls, dict(options or {})
        self.shards, self.identity = len(urls), '\n'.join(urls)
        try:
            import fsspec
            import webdataset  # noqa: F401 - tells early that the extra is missing
        except ImportError as error:
            raise UserError(f'RemoteShards: {error.name} is not installed; pip install "fvq[data]".') from error
        for url in urls:
            protocol = url.partition('://')[0] if ADDRESS.match(url) else 'file'
            try:
                fsspec.get_filesystem_class(protocol)
            except (ValueError, ImportError) as error:
                raise UserError(f'RemoteShards: {url} cannot be opened: {error}.') from error

    def shard_name(self, number: int) -> str:
        return self.urls[number]

    def read(self, number: int, state: Any = None) -> TarReader:
        reader = TarReader(self.urls[number], self.open(number))
        for _ in range(state or 0):
            next(reader)
        return reader

    def open(self, number: int) -> Any:
        """A shard as a file that is read once."""
        import fsspec

        options, url = dict(self.options), self.urls[number]
        if url.startswith(('http://', 'https://')):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
            options = dict(block_size=0, client_kwargs={'timeout': timeout}) | options
            file_system, path = fsspec.core.url_to_fs(url, **options)
            return file_system.open(
                path, 'rb', size=1
            )  # any size saves a request for it, whose errors hide their reason
        file_system, path = fsspec.core.url_to_fs(url, **options)
        return file_system.open(path, 'rb')


class CheckedFile:
    """What `tarfile` reads a shard through: the first bytes are looked at, members are bounded, and so is the end.

    Attributes:
        since_member: Bytes that were read since the member before.
        tail: The last block.
    """

    def __init__(self, name: str, file: Any) -> None:
        self.name, self.file, self.since_member, self.tail = name, file, 0, b''
        self.head = self._whole(512)
        start = self.head.lstrip()[:64].lower()
        if not self.head:
            raise UserError(f'RemoteShards: {name} is empty; write it again.')
        if self.head.startswith(PACKED):
            raise UserError(f'RemoteShards: {name} is compressed, which images gain nothing from; decompress it.')
        if start.startswith((b'<!doctype', b'<html', b'<?xml')):
            raise UserError(
                f'RemoteShards: {name} is a web page, not a tar file; is the address right, or is a login needed?'
            )

    def _whole(self, size: int) -> bytes:
        """As many bytes as there are, up to `size`: a network gives fewer at a time."""
        parts = []
        while size > 0 and (part := self.file.read(size)):
            parts.append(part)
            size -= len(part)
        return b''.join(parts)

    def read(self, size: int) -> bytes:
        data, self.head = self.head, b''
        data += self._whole(size - len(data))
        self.since_member += len(data)
        if self.since_member > MAX_BYTES:
            raise UserError(
                f'RemoteShards: {self.name} has a member of more than {MAX_BYTES:,} bytes, which is not an image.'
            )
        self.tail = (self.tail + data[-512:])[-512:]
        return data

    def close(self) -> None:
        self.file.close()


class TarReader:
    """The images of a shard in its order; see `TarStream`."""

    def __init__(self, name: str, file: Any) -> None:
        self.name, self.count = name, 0
        self.file = CheckedFile(name, file)
        self.images = self._images()

    def state(self) -> int:
        """The number of images that were read: a tar is entered by reading it from its beginning."""
        return self.count

    def __iter__(self) -> Iterator[StreamedImage]:
        return self

    def __next__(self) -> StreamedImage:
        image = next(self.images)
        self.count += 1
        return image

    def _images(self) -> Iterator[StreamedImage]:
        import tarfile

        from webdataset.tariterators import group_by_keys, tar_file_iterator

        def members() -> Iterator[dict[str, Any]]:
            file: Any = self.file
            for member in tar_file_iterator(file, select_files=lambda path: not is_hidden(path)):
                self.file.since_member = 0
                yield {**member, '__url__': self.name}

        try:
            for sample in group_by_keys(members()):
                label = self._label(sample)
                for suffix, data in sample.items():
                    if f'.{suffix}' in EXTENSIONS:
                        yield StreamedImage(f'{self.name}:{sample["__key__"]}.{suffix}', data, label)
        except tarfile.ReadError as error:
            if not self.count:
                raise UserError(
                    f'RemoteShards: {self.name} is not a tar file ({reason(error)}); write it again.'
                ) from error
            raise
        except (ValueError, EOFError) as error:  # two members of one name; a broken header
            raise UserError(f'RemoteShards: {self.name}: {reason(error)}; write it again.') from error
        finally:
            self.file.close()
        if self.file.tail.strip(b'\0'):
            raise tarfile.ReadError(f'it stops without an end mark after {self.count} images')

    def _label(self, sample: dict[str, Any]) -> int:
        if 'cls' not in sample:
            return -1
        found = LABEL.fullmatch(sample['cls'][:64])
        if found is None:
            raise UserError(
                f'RemoteShards: {self.name}: {sample["__key__"]}.cls holds {sample["cls"][:64]!r}, not a whole number of at '
                'most 9 digits.'
            )
        return int(found[1])
