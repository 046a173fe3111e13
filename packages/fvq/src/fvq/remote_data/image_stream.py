"""What a stream of images has to give: shards that can be read in any order, each from a given place on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class StreamedImage:
    """An image as it comes out of a stream, not decoded yet."""

    name: str  # in messages
    data: bytes  # of an image file
    label: int = -1
    problem: str = ''  # why there are no bytes, if there are none


class ShardReader(Protocol):
    """Reads a shard once, from some place on."""

    def __iter__(self) -> Iterator[StreamedImage]: ...

    def __next__(self) -> StreamedImage: ...

    def state(self) -> Any:
        """Where the reader stands, in JSON's types: reading on from here gives what comes next."""


class ImageStream(Protocol):
    """A set of shards that is read over a network, or too large to be indexed.

    Attributes:
        shards: Their number.
        identity: What the images and their order depend on, as text: address, split, revision.
    """

    shards: int
    identity: str

    def shard_name(self, number: int) -> str:
        """A shard as messages name it."""
        ...

    def read(self, number: int, state: Any = None) -> ShardReader:
        """Open a shard at its beginning, or where `state` of an earlier reader says."""
        ...
