"""Scores by the relative size of words or faces, each range weighing the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue

from .annotations import Annotated, Annotation


@dataclass(frozen=True)
class SizeRanges:
    """Ranges of relative sizes, each from a bound up to the next.

    Args:
        setting: The side that images were resized to before they were reconstructed.
        bounds: The bounds of the ranges of that setting, in rising order.
    """

    setting: int
    bounds: Sequence[float]

    def names(self) -> list[str]:
        return [f'{low:g}_{high:g}' for low, high in pairwise(self.bounds)]

    def place(self, annotation: Annotation) -> int | None:
        """Index of the range that a word or face is in; None if it is in none."""
        ranges = pairwise(self.bounds)
        return next((n for n, (low, high) in enumerate(ranges) if low <= annotation.ratio < high), None)

    def counted(self, annotations: Sequence[Annotated], noun: str) -> list[Annotated]:
        """Those that are in a range; raises if there is a range without any."""
        places = [self.place(each) for each in annotations]
        for index, name in enumerate(self.names()):
            if index not in places:
                size = name.replace('_', ' to ')
                raise UserError(f'no {noun} has a size of {size} of its image; is --setting {self.setting} right?')
        return [each for each, place in zip(annotations, places, strict=True) if place is not None]

    def means(
        self, name: str, values: Sequence[float], counted: Sequence[Annotation], unit: str, protocol: str
    ) -> dict[str, MetricValue]:
        """`name`, the mean over ranges, and `name`_LOW_HIGH, the mean of each range, of a value for each that counts."""
        found: list[list[float]] = [[] for _ in self.names()]
        for each, value in zip(counted, values, strict=True):
            if (place := self.place(each)) is not None:
                found[place].append(value)
        means = [sum(each) / len(each) for each in found]
        whole = f'{protocol}; mean over ranges of size'
        scored = {name: MetricValue(sum(means) / len(means), unit, whole, len(counted), preset='tokbench')}
        for size, mean, each in zip(self.names(), means, found, strict=True):
            of_size = f'{protocol}, size {size.replace("_", " to ")} of the image'
            scored[f'{name}_{size}'] = MetricValue(mean, unit, of_size, len(each), preset='tokbench')
        return scored
