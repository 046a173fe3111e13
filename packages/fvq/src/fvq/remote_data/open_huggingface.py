"""A data set of Hugging Face's `datasets`, opened without running anybody's code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError, nearest_hint, shortened
from fvq_core.files.paths import expand_home

from .image_stream import StreamedImage
from .retry import reason

SAVED = ('state.json', 'dataset_dict.json')  # of `save_to_disk`


@dataclass(frozen=True)
class HuggingFaceSource:
    """Which data set, and which of its columns.

    Attributes:
        owner: Who asks, for messages.
        path: `user/name` on the hub, a folder of `save_to_disk`, or a file format: `parquet`, `arrow`.
        name: The configuration, if it has several.
        data_files: Files of a format, by path or address, or some of a repository's.
        revision: Commit or tag on the hub.
        image: Column of the images.
        label: Column of whole numbers; None for no labels.
    """

    owner: str
    path: str
    split: str
    name: str | None = None
    data_files: Any = None
    revision: str | None = None
    image: str = 'image'
    label: str | None = None

    def open(self, streaming: bool) -> Any:
        """The data set, with images as the bytes of their files."""
        try:
            import datasets
        except ImportError as error:
            raise UserError(f'{self.owner}: datasets is not installed; pip install "fvq[data]".') from error
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        try:
            found = self._load(datasets, streaming)
        except Exception as error:  # the hub, file formats and caches raise classes of many libraries
            files = '' if self.data_files is None else f' ({shortened(self.data_files)})'
            raise UserError(f'{self.owner}: {self.path}{files} cannot be opened: {reason(error)}.') from error
        if isinstance(found, Mapping):
            if self.split not in found:
                hint = nearest_hint(self.split, found)
                raise UserError(f"{self.owner}: {self.path} has no split '{self.split}'; {hint}")
            found = found[self.split]
        return self._with_bytes(datasets, found)

    def _load(self, datasets: Any, streaming: bool) -> Any:
        folder = Path(self.path)
        if any((folder / name).is_file() for name in SAVED):
            if streaming:
                raise UserError('it was written by save_to_disk, which HuggingFaceImages reads')
            return datasets.load_from_disk(self.path)
        # No trust_remote_code: the library has given up loading scripts, and we never ask for them.
        return datasets.load_dataset(
            self.path,
            self.name,
            data_files=None if self.data_files is None else plain(self.data_files),
            split=self.split,
            revision=self.revision,
            streaming=streaming,
        )

    def _with_bytes(self, datasets: Any, found: Any) -> Any:
        """Check the columns; raises if the one of images holds something else."""
        features = found.features
        if features is None:  # a stream whose files have not been looked at
            found = found._resolve_features()
            features = found.features
        if features is None:
            raise UserError(f'{self.owner}: {self.path} has no rows.')
        for column in (self.image, self.label):
            if column is not None and column not in features:
                raise UserError(f"{self.owner}: {self.path} has no column '{column}'; {nearest_hint(column, features)}")
        kind = features[self.image]
        binary = isinstance(kind, datasets.Value) and kind.dtype in ('binary', 'large_binary')
        struct = isinstance(kind, Mapping) and {*kind} == {'bytes', 'path'}
        if not (binary or struct or isinstance(kind, datasets.Image)):
            raise UserError(
                f"{self.owner}: column '{self.image}' of {self.path} holds {kind}, expected images or their bytes; "
                f'columns: {", ".join(features)}.'
            )
        kept = [column for column in (self.image, self.label) if column is not None]
        return found.select_columns(kept).cast_column(self.image, datasets.Image(decode=False))

    def row_image(self, row: Mapping[str, Any], name: str) -> StreamedImage:
        """The image of a row; a row that only names a file is not followed, as it may name any."""
        image = row[self.image] or {}
        data = image.get('bytes')
        problem = ''
        if not data:
            names = image.get('path')
            problem = f'the row names the file {names} and does not hold it' if names else 'the row has no image'
        return StreamedImage(name, data or b'', self.row_label(row), problem)

    def row_label(self, row: Mapping[str, Any]) -> int:
        """The label of a row, -1 without one."""
        value = None if self.label is None else row[self.label]
        if value is None:
            return -1
        if isinstance(value, bool) or not isinstance(value, int):
            raise UserError(f"{self.owner}: column '{self.label}' holds {value!r}, expected whole numbers as labels.")
        return value


def plain(data_files: Any) -> Any:
    """Paths of a config as the library takes them, `~` expanded."""
    if isinstance(data_files, Mapping):
        return {key: plain(value) for key, value in data_files.items()}
    return expand_home(data_files) if isinstance(data_files, str) else [plain(each) for each in data_files]
