"""How long will an evaluation take? Measured on some of its images, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvq_core.autoencoder import Autoencoder
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.packed_names import PackedNames
from fvq_core.errors import UserError


class FirstFiles(ImageDataset):
    """The first images of a data set of files."""

    def __init__(self, files: ImageDataset, count: int) -> None:
        super().__init__()
        self.files = files
        self.names = PackedNames.pack(files.names[number] for number in range(count))
        self.labels = np.asarray(files.labels[:count])

    def name(self, number: int) -> str:
        return self.files.name(number)

    def read(self, number: int) -> bytes:
        return self.files.read(number)


@dataclass(frozen=True)
class TimeEstimate:
    """Of one tokenizer.

    Attributes:
        images: Images of the longer of two passes that were timed.
        per_image: Seconds for each further image.
        once: Seconds that do not depend on the number of images: building networks, decompositions of covariances.
    """

    images: int
    per_image: float
    once: float

    def hours(self, images: int) -> float:
        """For a whole set."""
        return (self.once + images * self.per_image) / 3600


def estimate(
    make_evaluator: Callable[[], Any],
    autoencoder: Autoencoder,
    files: ImageDataset,
    images: int,
    batch_size: int,
    workers: int,
    clock: Callable[[], float] = time.perf_counter,
) -> TimeEstimate:
    """Time passes over `images` and over twice as many, after one that warms up.

    Raises:
        UserError: The set has fewer than twice as many, or the longer pass took no longer.
    """
    if len(files) < 2 * images:
        raise UserError(f'--estimate {images}: needs {2 * images} images, the set has {len(files)}; take fewer.')

    def seconds(count: int) -> float:
        started = clock()
        make_evaluator().evaluate(autoencoder, FirstFiles(files, count), batch_size, workers)
        return clock() - started

    seconds(min(images, batch_size))
    short, long = seconds(images), seconds(2 * images)
    if long <= short:
        raise UserError(f'--estimate {images}: twice as many images took no longer; take more.')
    per_image = (long - short) / images
    return TimeEstimate(2 * images, per_image, max(0.0, short - images * per_image))
