"""What is made of drawn samples: an npz, a picture grid, a folder of images."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fvq_core.errors import UserError
from fvq_core.files.atomic import remove_leftovers, write_atomically

from .npz_file import INTACT, write_npz
from .sample_grid import choose_samples, sample_grid
from .sample_shards import SampleShards

GRID, NPZ, IMAGES = 'grid.png', 'samples.npz', 'images'
OWN_IMAGE = re.compile(r'\d{6,}_\d+\.png')


class SampleOutputs:
    """Writes them beside the shards, which stay: a later call may go on with more samples.

    Args:
        out: The folder.
        shards: Complete.
    """

    def __init__(self, out: Path, shards: SampleShards) -> None:
        self.out, self.shards, self.plan = out, shards, shards.plan
        self.labels = self.plan.labels()

    def write(self, npz: bool = False, images: bool = False) -> Iterator[str]:
        """Write what is asked for, and the grid. What cannot be written does not keep the rest from being written.

        Returns:
            A line for people on each file, after it was written.

        Raises:
            UserError: At the end, on all that could not be written; the samples themselves are kept.
        """
        problems = []
        for make, wanted in ((self._write_npz, npz), (self._write_grid, True), (self._write_images, images)):
            try:
                if wanted:
                    yield make()
            except UserError as error:
                problems.append(str(error))
        if problems:
            raise UserError(' '.join(problems))

    def _write_npz(self) -> str:
        path = self.out / NPZ
        remove_leftovers(self.out, NPZ)
        shape = (self.plan.count, *self.shards.images([0]).shape[1:])
        write_npz(path, self.shards.read(), shape, self.labels)
        return f'{path}: {self.plan.count} images; score it with tools/evaluate.py'

    def _write_images(self) -> str:
        """As many files as the plan has images: those of an earlier, longer plan go, since the shards still have them."""
        folder, names = self.out / IMAGES, [f'{number:06d}_{label}.png' for number, label in enumerate(self.labels)]
        try:
            folder.mkdir(exist_ok=True)
            remove_leftovers(folder)
            there = {path.name for path in folder.iterdir()}
            foreign = min((name for name in there if not OWN_IMAGE.fullmatch(name)), default=None)
            if foreign is not None:
                raise UserError(
                    f'{folder} holds other files ({foreign}), which would count as samples; move them elsewhere.'
                )
            for name in there.difference(names):
                (folder / name).unlink()
        except OSError as error:
            raise UserError(f'{folder} could not be written to ({error.strerror or error}). {INTACT}') from error
        pixels = (image for block in self.shards.read() for image in block)
        for name, image in zip(names, pixels, strict=True):
            write_atomically(folder / name, png(Image.fromarray(image)), INTACT, flush=False)
        return f'{folder}: {len(names)} images'

    def _write_grid(self) -> str:
        path = self.out / GRID
        remove_leftovers(self.out, GRID)
        rows, of_classes = choose_samples(self.labels)
        write_atomically(path, png(sample_grid([list(self.shards.images(row)) for row in rows])), INTACT)
        if of_classes:
            left_out = len(np.unique(self.labels)) - len(rows)
            more = f', of {left_out + len(rows)}' if left_out else ''
            return f'{path}: rows are classes {", ".join(str(self.labels[row[0]]) for row in rows)}{more}'
        shown = sum(map(len, rows))
        first, last = self.labels[rows[0][0]], self.labels[rows[-1][-1]]
        return f'{path}: {shown} of {self.plan.count} images, ordered by class from {first} to {last}'


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, 'png')
    return buffer.getvalue()
