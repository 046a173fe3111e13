"""Which images are to be drawn: class and seed of each by its number only, and the file that it goes to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvq_core.errors import UserError, shortened

# Images of the first files, then SHARD_IMAGES: a few images are spread over several processes too, and those that go on
# from many are drawn in whole batches. The sizes know neither how many images nor how many processes there are.
FIRST_SHARDS = (16,) * 16 + (32,) * 16
SHARD_IMAGES = 64


@dataclass(frozen=True)
class SamplePlan:
    """A set of samples.

    Neither the number of processes nor their batches change what is drawn for an image, and the first images of a longer plan
    are those of a shorter one.

    Args:
        count: Images.
        classes: Dealt out in turn: image i is of class `classes[i % len(classes)]`.
        draw_classes: Draw the class of each image from `classes` instead, as LlamaGen does for its FID.
        seed: Base seed.
        settings: How they are drawn (guidance, temperature, ...) and by which generator and tokenizer: JSON-ready.
        shard_images: Images of one file at most, which is what a killed process loses at most.

    Raises:
        UserError: No image or no class.
    """

    count: int
    classes: tuple[int, ...]
    draw_classes: bool
    seed: int
    settings: Mapping[str, Any]
    shard_images: int = SHARD_IMAGES

    def __post_init__(self) -> None:
        for what, least, got in (('images', 1, self.count), ('classes', 1, len(self.classes)), ('seed', 0, self.seed)):
            if got < least:
                raise UserError(f'sampling: {what} must be {least} or more, got {got}.')

    def label(self, number: int) -> int:
        """The class of an image."""
        if self.draw_classes:
            return self.classes[int(self._rng(number, 0).integers(len(self.classes)))]
        return self.classes[number % len(self.classes)]

    def labels(self) -> np.ndarray:
        """The class of every image, int64 (N,)."""
        return np.array([self.label(number) for number in range(self.count)], dtype=np.int64)

    def image_seed(self, number: int) -> int:
        """The seed of an image, below 2^62."""
        return int(self._rng(number, 1).integers(2**62))

    def _rng(self, number: int, purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, number, purpose])))

    @cached_property
    def _starts(self) -> list[int]:
        """The first image of each file, and the number of images."""
        starts = [0]
        while starts[-1] < self.count:
            file = len(starts) - 1
            size = min(FIRST_SHARDS[file], self.shard_images) if file < len(FIRST_SHARDS) else self.shard_images
            starts.append(min(starts[-1] + size, self.count))
        return starts

    @property
    def shards(self) -> int:
        """Number of files."""
        return len(self._starts) - 1

    def shard(self, number: int) -> range:
        """The images of a file."""
        return range(self._starts[number], self._starts[number + 1])

    def row(self, image: int) -> tuple[int, int]:
        """The file of an image, and its row there."""
        shard = bisect_right(self._starts, image) - 1
        return shard, image - self._starts[shard]

    def to_dict(self) -> dict[str, Any]:
        """What decides the images, but for their number, and the size of the files."""
        facts = {**asdict(self), 'classes': list(self.classes), 'settings': dict(self.settings)}
        del facts['count']
        return facts

    def differences(self, there: Any) -> list[str]:
        """Settings in which another plan, as `to_dict` gives it, differs from this one; file size is ignored."""
        own, other = decisions(self.to_dict()), decisions(there)
        differ = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
        return [f'{key} is {shortened(other.get(key))} there, {shortened(own.get(key))} now' for key in differ]


def decisions(plan: Any) -> dict[str, Any]:
    """The entries of a plan that decide its images, with its settings; empty for anything that is not a plan."""
    if not isinstance(plan, Mapping) or not isinstance(plan.get('settings'), Mapping):
        return {}
    return {**{key: plan[key] for key in plan.keys() - {'settings', 'shard_images'}}, **plan['settings']}


def parse_classes(given: Sequence[str], num_classes: int) -> tuple[tuple[int, ...], bool]:
    """The classes of a command line: numbers to be dealt out in turn, `all`, or `random` to draw each from all.

    Returns:
        The classes, and whether each image's is drawn.

    Raises:
        UserError: Something else, or a class that the generator does not have.
    """
    if list(given) in (['all'], ['random']):
        return tuple(range(num_classes)), given[0] == 'random'
    wrong = [text for text in given if not text.isdecimal() or int(text) >= num_classes]
    if wrong:
        raise UserError(
            f"--classes takes numbers from 0 to {num_classes - 1}, or 'all', or 'random'; got '{wrong[0]}'."
        )
    return tuple(int(text) for text in given), False
