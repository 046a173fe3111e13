"""Base of the data sets that are read as streams, with exact resume for any number of loader processes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from mmengine.dist import get_dist_info

from fvq_core.data.decoding import Orientation, UnreadableImageError
from fvq_core.data.image_dataset import MAX_SUBSTITUTES, ImageDataset
from fvq_core.data.sample import Sample, check_index, sample_rng
from fvq_core.errors import UserError

from .image_stream import ImageStream, StreamedImage
from .lane import Lane
from .seek_points import SeekPoints


class StreamedImages(ImageDataset):
    """RGB images of an `ImageStream`.

    In training a run reads `lanes` streams for each rank. Batch k of a rank comes from lane k mod `lanes`, so each loader
    process reads streams of its own if `lanes` is a multiple of `num_workers`. The images of a batch depend on seed, ranks,
    batch size and position only; a resumed run starts at the nearest known place, or at the beginning if none is known.
    In evaluation the stream is read once in its order, by each loader process.

    Args:
        stream: Where images come from.
        length: Images of an epoch; what `max_epochs`, `max_unreadable` and an evaluation count by.
        lanes: Streams of each rank, at most; one has whole shards to itself, if there are enough.
        shuffle_block: Images that a lane holds in memory, as files, to permute them. 1 keeps the order within a shard.
        places_dir: Folder of the known places; by default `fvq/streams` in the user's cache folder.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        stream: ImageStream,
        length: int | None,
        lanes: int,
        shuffle_block: int,
        places_dir: str | None,
        transforms: Sequence[Mapping[str, Any]],
        decoder: Literal['pil', 'auto'],
        seed: int,
        exif_orientation: Orientation,
    ) -> None:
        super().__init__(transforms, decoder, seed, exif_orientation)
        kind = type(self).__name__
        for name, value in dict(length=length, lanes=lanes, shuffle_block=shuffle_block).items():
            if value is not None and value < 1:
                raise UserError(f'{kind}: {name} must be 1 or more, got {value}.')
        if length is None:
            raise UserError(
                f'{kind}: length is missing: a stream does not tell how many images it has; tools/check_data.py counts them.'
            )
        self.stream, self.length, self.places_dir = stream, length, places_dir
        self.rank, self.ranks = get_dist_info()
        self.lanes = max(1, min(lanes, stream.shards // self.ranks))
        self.shuffle_block = shuffle_block
        self._forget()

    def _forget(self) -> None:
        self.process, self.opened = os.getpid(), dict[int, Lane]()
        self.item = StreamedImage('', b'')

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, 'opened': {}}

    def __len__(self) -> int:
        return self.length

    def keep(self, store: Any) -> int:
        raise UserError(f'{type(self).__name__}: on_device=True is for data that fit into memory; use on_device=False.')

    def in_order(self) -> Iterator[StreamedImage]:
        """All images of the stream in its order, once."""
        lane = Lane(type(self).__name__, self.stream, 0, 1, None, 1, None)
        try:
            for number in itertools.count():
                yield lane[number]
        except IndexError:
            return

    def lane(self, number: int) -> Lane:
        """A lane of this rank, opened by this process; -1 is the whole stream in its order."""
        if self.process != os.getpid():  # a loader process must not read from its parent's connections
            self._forget()
        if number not in self.opened:
            kind = type(self).__name__
            if number < 0:
                self.opened[number] = Lane(kind, self.stream, 0, 1, None, 1, None)
            else:
                mine, lanes = number * self.ranks + self.rank, self.lanes * self.ranks
                order = f'{self.stream.identity}\n{self.seed}\n{mine} of {lanes}\n{self.shuffle_block}'
                points = SeekPoints(self.places_dir, order)
                self.opened[number] = Lane(kind, self.stream, mine, lanes, self.seed, self.shuffle_block, points)
        return self.opened[number]

    def __getitems__(self, indices: Sequence[int | tuple[int, int]]) -> list[Sample]:
        """A batch, as a loader asks for it: of (index, position in the data order) in training, else of indices."""
        samples = []
        for place, index in enumerate(indices):
            if isinstance(index, tuple):
                batch = index[1] // (self.ranks * len(indices))
                number = (batch // self.lanes) * len(indices) + place
                samples.append(self._sample(batch % self.lanes, number, index[1], MAX_SUBSTITUTES))
            else:
                samples.append(self[index])
        return samples

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The image at an index of the stream's own order, or in training a batch of one."""
        check_index(self, index)
        return self.__getitems__([index])[0] if isinstance(index, tuple) else self._sample(-1, index, index, 1)

    def _sample(self, lane: int, number: int, position: int, tries: int) -> Sample:
        """An image of a lane, or the next one that is readable."""
        reasons: list[str] = []
        sample = Sample(image=None, label=-1, unreadable=[], reasons=reasons, error=None)
        for step in range(tries):
            try:
                self.item = self.lane(lane)[number + step]
                sample['image'], sample['flip'] = self._load(number, sample_rng(self.seed, position))
            except UnreadableImageError as error:
                sample['unreadable'].append(self.item.name)
                reasons.append(str(error))
                continue
            except UserError as error:  # not because of the image
                sample['error'] = str(error)
            except IndexError:
                sample['error'] = (
                    f'{type(self).__name__}: the stream ends after {number} images, fewer than length={self.length}.'
                )
            sample['label'] = self.item.label
            break
        return sample

    def data(self, number: int) -> bytes:
        if self.item.problem:
            raise UnreadableImageError(self.item.problem)
        return self.item.data
