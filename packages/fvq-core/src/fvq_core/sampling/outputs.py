"""What is made of drawn samples: a picture grid, an npz, a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..plots.sample_grid import save_sample_grid
from .npz_file import write_npz
from .sample_shards import SampleShards

SHOWN = 512  # samples that the grid chooses from
GRID, NPZ, IMAGES = 'grid.png', 'samples.npz', 'images'


class SampleOutputs:
    """Writes them beside the shards, which stay: a later call may go on with more samples.

    Args:
        out: The folder.
        shards: Complete.
    """

    def __init__(self, out: Path, shards: SampleShards) -> None:
        self.out, self.shards, self.plan = out, shards, shards.plan

    def write(self, npz: bool = False, images: bool = False) -> Iterator[str]:
        """Write what is asked for, and the grid.

        Returns:
            A line for people on each file, after it was written.

        Raises:
            UserError: The disk is full; the samples themselves are kept.
        """
        first = self.shards.first(SHOWN)
        shown = save_sample_grid(first, [self.plan.label(i) for i in range(len(first))], self.out / GRID)
        yield f'{self.out / GRID}: rows are classes {", ".join(map(str, shown))}'
        labels = np.array([self.plan.label(i) for i in range(self.plan.count)])
        if npz:
            write_npz(self.out / NPZ, self.shards.read(), (self.plan.count, *first.shape[1:]), labels)
            yield f'{self.out / NPZ}: {self.plan.count} images; tools/evaluate.py scores it'
        if images:
            count = self._write_images(labels)
            yield f'{self.out / IMAGES}: {count} images'

    def _write_images(self, labels: np.ndarray) -> int:
        folder, number = self.out / IMAGES, 0
        try:
            folder.mkdir(exist_ok=True)
            for block in self.shards.read():
                for pixels in block:
                    Image.fromarray(pixels).save(folder / f'{number:06d}_{labels[number]}.png')
                    number += 1
        except OSError as error:
            raise UserError(
                f'{folder} could not be written ({error.strerror or error}); is the disk full? The samples themselves are '
                'kept: make room and run the same command again.'
            ) from error
        return number
