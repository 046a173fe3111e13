"""One of the streams that a data set is read as: an endless order of images that can be entered anywhere."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from typing import Any

from fvq_core.errors import UserError

from .image_stream import ImageStream, ShardReader, StreamedImage
from .retry import WAITS, may_pass, reason
from .seek_points import SeekPoints

KEPT_BLOCKS = 2  # a batch may lie in two
logger = logging.getLogger('fvq')


class Lane:
    """Every `lanes`-th shard of a permutation, a new one each epoch; within blocks the images are permuted too.

    Image n of a lane depends on the stream, the seed and n only. With fewer shards than lanes, those of one shard take turns
    in its images.

    Args:
        stream: Where the images come from.
        lane: The number of this one, of `lanes`.
        seed: Of the permutations; None for the order of the stream, once: an IndexError then marks its end.
        block: Images that are read together, in memory as files, and permuted.
        points: Where reading may start.
    """

    def __init__(
        self,
        owner: str,
        stream: ImageStream,
        lane: int,
        lanes: int,
        seed: int | None,
        block: int,
        points: SeekPoints | None,
    ) -> None:
        self.owner, self.stream, self.lane, self.lanes = owner, stream, lane, lanes
        self.seed, self.block, self.points = seed, block, points
        self.blocks: dict[int, list[StreamedImage]] = {}
        self._go_to(None)

    def __getitem__(self, number: int) -> StreamedImage:
        """Image `number` of the lane, from 0 on."""
        block, place = divmod(number, self.block)
        if block not in self.blocks:
            while len(self.blocks) >= KEPT_BLOCKS:
                del self.blocks[min(self.blocks)]
            self.blocks[block] = self._read_block(block)
        return self.blocks[block][place]

    def _read_block(self, block: int) -> list[StreamedImage]:
        first = block * self.block
        if self.count != first:
            known = self.points.before(first) if self.points else None
            if self.count > first or (known is not None and known['count'] > self.count):
                self._go_to(known)
            for _ in range(first - self.count):
                self._next()
        if self.points is not None and self.reader is not None:
            self.points.add(self._place())
        images: list[StreamedImage] = []
        while len(images) < self.block:
            try:
                images.append(self._next())
            except IndexError:
                break
        if self.seed is not None:
            random.Random(f'{self.seed}/{self.lane}/{self.lanes}/{block}').shuffle(images)
        return images

    def _place(self) -> dict[str, Any]:
        """Where the lane stands, for `_go_to`."""
        state = self.reader.state() if self.reader else None
        return dict(count=self.count, epoch=self.epoch, shard=self.shard, raw=self.raw, state=state)

    def _go_to(self, place: dict[str, Any] | None) -> None:
        """Stand at a place; None is the beginning."""
        self.reader: ShardReader | None = None
        self.state: Any = None
        self.count = self.epoch = self.shard = self.raw = 0  # images before; the epoch, its shard, and images of that
        if place is not None:
            self.count, self.epoch, self.shard, self.raw = (place[key] for key in ('count', 'epoch', 'shard', 'raw'))
            self.state = place['state']
        self.found_in_epoch = self.count
        self.mine = self._shards()

    def _shards(self) -> list[int]:
        """The shards of this lane in this epoch, and in which of their images it takes part."""
        order = list(range(self.stream.shards))
        if self.seed is not None:
            random.Random(f'{self.seed}/{self.epoch}').shuffle(order)
        if len(order) >= self.lanes:
            self.offset, self.stride = 0, 1
            return order[self.lane :: self.lanes]
        self.offset = self.lane // len(order)
        self.stride = len(range(self.lane % len(order), self.lanes, len(order)))
        return [order[self.lane % len(order)]]

    def _next(self) -> StreamedImage:
        """The next image in the order of the stream; an IndexError at its end, if it has one."""
        while True:
            if self.shard >= len(self.mine):
                self._end_epoch()
            image = self._next_of_shard()
            if image is None:
                self.reader, self.state, self.raw = None, None, 0
                self.shard += 1
                continue
            self.raw += 1
            if (self.raw - 1) % self.stride == self.offset:
                self.count += 1
                self.found_in_epoch += 1
                return image

    def _end_epoch(self) -> None:
        if not self.found_in_epoch:
            first = self.stream.shard_name(self.mine[0])
            raise UserError(f'{self.owner}: no image in {len(self.mine)} shard(s), the first is {first}.')
        if self.seed is None:
            raise IndexError(self.count)
        self.shard, self.epoch, self.found_in_epoch = 0, self.epoch + 1, 0
        self.mine = self._shards()

    def _next_of_shard(self) -> StreamedImage | None:
        """The next image of the shard, None at its end. What a lost connection costs is read again after a while."""
        number = self.mine[self.shard]
        for wait in (*WAITS, None):
            try:
                if self.reader is None:
                    self.reader = self.stream.read(number, self.state)
                    skip(self.reader, self.raw if self.state is None else 0)
                return next(iter(self.reader), None)
            except Exception as error:  # network libraries raise classes of their own; the others are raised again
                known, self.reader, self.state = self.state, None, None
                name = self.stream.shard_name(number)
                if isinstance(error, UserError):
                    raise
                if known is not None and wait is not None:  # perhaps the place is wrong: from the shard's beginning
                    continue
                if not may_pass(error):
                    raise UserError(f'{self.owner}: {name} cannot be read: {reason(error)}.') from error
                if wait is None:
                    tries = len(WAITS) + 1
                    raise UserError(
                        f'{self.owner}: {name} cannot be read after {tries} tries: {reason(error)}; the run can be resumed.'
                    ) from error
                logger.warning(f'{name}: {reason(error)}; trying again in {wait:g} s')
                time.sleep(wait)
        raise AssertionError('unreachable')


def skip(images: Iterator[StreamedImage], count: int) -> None:
    """Read images and drop them."""
    for _ in range(count):
        next(images)
