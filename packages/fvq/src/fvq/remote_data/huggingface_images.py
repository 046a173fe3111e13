"""A data set of Hugging Face that lies on the disk: rows by their number, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from fvq_core.data.decoding import Orientation, UnreadableImageError
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from .open_huggingface import HuggingFaceSource


@DATASETS.register_module()
class HuggingFaceImages(ImageDataset):
    """RGB images of a data set of the hub, of one that `save_to_disk` wrote, or of Parquet and Arrow files.

    `datasets` downloads it once, into its own cache, as a table that is read by row: the data order is that of every other
    data set, and a run resumes exactly.

    Args:
        path: `user/name`, a folder, or `parquet` or `arrow` with `data_files`.
        split, name, data_files, revision, image, label: See `HuggingFaceSource`.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        path: str,
        split: str = 'train',
        transforms: Sequence[Mapping[str, Any]] = (),
        image: str = 'image',
        label: str | None = None,
        name: str | None = None,
        data_files: str | Sequence[str] | Mapping[str, Any] | None = None,
        revision: str | None = None,
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        super().__init__(transforms, decoder, seed, exif_orientation)
        self.source = HuggingFaceSource(type(self).__name__, path, split, name, data_files, revision, image, label)
        self.rows = self.source.open(streaming=False)
        if not len(self.rows):
            raise UserError(f"{type(self).__name__}: split '{split}' of {path} has no rows.")
        self.labels = np.full(len(self.rows), -1)
        if label is not None:
            column = self.rows.select_columns([label]).with_format('arrow')[:][label].to_pylist()
            self.labels = np.array([self.source.row_label({label: value}) for value in column], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, number: int) -> str:
        return f'{self.source.path} row {number}'

    def data(self, number: int) -> bytes:
        row = self.rows[number]
        image = self.source.row_image(row, self.name(number))
        if image.problem:
            raise UnreadableImageError(image.problem)
        return image.data
