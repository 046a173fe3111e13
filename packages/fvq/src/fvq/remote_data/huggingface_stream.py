"""A data set of Hugging Face that is read over the network as training goes, and not stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from fvq_core.data.decoding import Orientation
from fvq_core.registry import DATASETS

from .image_stream import StreamedImage
from .open_huggingface import HuggingFaceSource
from .streamed_images import StreamedImages


class HuggingFaceShards:
    """The files of a streamed data set, each a shard, in the order that it names them."""

    def __init__(self, source: HuggingFaceSource) -> None:
        self.source = source
        self.shards = self.rows.num_shards
        self.identity = repr(source)

    @cached_property
    def rows(self) -> Any:
        """The `IterableDataset`; each process opens its own."""
        return self.source.open(streaming=True)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != 'rows'}

    def shard_name(self, number: int) -> str:
        return f'{self.source.path}[{self.source.split}] shard {number}'

    def read(self, number: int, state: Any = None) -> RowReader:
        rows = self.rows.shard(num_shards=self.shards, index=number)
        if state is not None:
            rows.load_state_dict(state['place'])
        return RowReader(self, number, rows, 0 if state is None else state['row'])

    def length(self) -> int | None:
        """The number of rows of the split, if the data set knows it."""
        splits = self.rows.info.splits or {}
        found = splits.get(self.source.split)
        return getattr(found, 'num_examples', None) or None


class RowReader:
    """The rows of a shard, from some place on."""

    def __init__(self, shards: HuggingFaceShards, number: int, rows: Any, row: int) -> None:
        self.shards, self.number, self.rows, self.row = shards, number, rows, row
        self.iterator = rows.iter(
            batch_size=1
        )  # `iter(rows)` would deal shards to loader processes, which lanes do already

    def state(self) -> Any:
        """Where the library stands, as it says itself, and the number of the row."""
        return {'place': self.rows.state_dict(), 'row': self.row}

    def __iter__(self) -> Iterator[StreamedImage]:
        return self

    def __next__(self) -> StreamedImage:
        row = {column: values[0] for column, values in next(self.iterator).items()}
        self.row += 1
        name = f'{self.shards.shard_name(self.number)} row {self.row - 1}'
        return self.shards.source.row_image(row, name)


@DATASETS.register_module()
class HuggingFaceStream(StreamedImages):
    """RGB images of a data set of the hub, or of Parquet, Arrow or other files, while they are being read.

    Exact resume rests on the library's `state_dict`, kept for the beginning of each block, and on data that stay as they are:
    name a `revision` of a repository that changes. The order is ours, by shards and blocks, because the library's own shuffle
    buffer is lost when a stream is entered again.

    Args:
        path: `user/name`, or `parquet` or `arrow` with `data_files`, paths or addresses.
        length: Images of an epoch; by default what the data set says of its split.
        split, name, data_files, revision, image, label: See `HuggingFaceSource`.
        lanes, shuffle_block, places_dir: See `StreamedImages`.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        path: str,
        split: str = 'train',
        length: int | None = None,
        transforms: Sequence[Mapping[str, Any]] = (),
        image: str = 'image',
        label: str | None = None,
        name: str | None = None,
        data_files: str | Sequence[str] | Mapping[str, Any] | None = None,
        revision: str | None = None,
        lanes: int = 8,
        shuffle_block: int = 256,
        places_dir: str | None = None,
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        source = HuggingFaceSource(type(self).__name__, path, split, name, data_files, revision, image, label)
        stream = HuggingFaceShards(source)
        length = length if length is not None else stream.length()
        super().__init__(stream, length, lanes, shuffle_block, places_dir, transforms, decoder, seed, exif_orientation)
