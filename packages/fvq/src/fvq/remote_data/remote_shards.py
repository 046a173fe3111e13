"""Tar shards on a web server or in an object store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fvq_core.data.decoding import Orientation
from fvq_core.data.tar_shards import expand_braces
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from .streamed_images import StreamedImages
from .tar_stream import TarStream


@DATASETS.register_module()
class RemoteShards(StreamedImages):
    """RGB images of WebDataset shards that are streamed: `https://`, `s3://`, `gs://` or whatever else fsspec opens.

    Nothing is kept on the disk. A lost connection is tried again after 1 to 16 seconds, and reading goes on where it was. A
    resumed run reads one shard of each lane from its beginning. Shards in a folder are faster with `TarShards`.

    Args:
        shards: An address with braces, such as `https://HOST/train-{000000..000146}.tar`, or a list of them.
        length: Images of an epoch, all shards together.
        lanes, shuffle_block, places_dir: See `StreamedImages`.
        storage_options: For fsspec's file system: keys, endpoints, headers.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        length: int | None = None,
        transforms: Sequence[Mapping[str, Any]] = (),
        lanes: int = 8,
        shuffle_block: int = 256,
        storage_options: Mapping[str, Any] | None = None,
        places_dir: str | None = None,
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        patterns = [shards] if isinstance(shards, str) else list(shards)
        urls = [url for pattern in patterns for url in expand_braces(pattern)]
        wild = next((url for url in urls if '*' in url), None)
        if wild or not urls:
            raise UserError(
                f'RemoteShards: {wild or "no address"}: name the shards one by one or with braces, {{000..146}}.'
            )
        stream = TarStream(urls, dict(storage_options or {}))
        super().__init__(stream, length, lanes, shuffle_block, places_dir, transforms, decoder, seed, exif_orientation)
