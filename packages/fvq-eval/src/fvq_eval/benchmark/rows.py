"""The rows of a benchmark: one for each config, one for each cell of a config that declares a sweep."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from mmengine.config import Config

from fvq_core.codes import CodeLayout
from fvq_core.config.check import check_arguments
from fvq_core.config.find import find_config
from fvq_core.config.options import check_option, set_option
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.training.load_task import inference_task

from .photo_data import crop_size


@dataclass
class Row:
    """One method.

    Attributes:
        key: Path of its config below `configs/`, without the ending, with the size before the name; of a sweep's cell, that of
            the folder and the cell.
        source: Path of the config as it was given.
        cfg: The config; None if it was refused.
        refusal: Why it cannot be trained, else ''.
        name: What reports call it: the key without what all rows have in common.
        codebook_size: K; 0 for a continuous autoencoder, which has no codes.
        codes_per_image: L.
        bits_per_image: What the codes of one evaluation image can tell apart, as a power of 2: the sum over its slots of
            log2 of the values that each may take.
        layout: Of the codes of an evaluation image; None without codes.
        steps: Its length if the call asks for several, which is then part of its key and may differ between rows.
    """

    key: str
    source: str
    cfg: Config | None
    refusal: str = ''
    name: str = ''
    codebook_size: int = 0
    codes_per_image: int = 0
    bits_per_image: float = 0.0
    layout: CodeLayout | None = None
    steps: int | None = None

    @property
    def folder(self) -> str:
        """The folder of its key."""
        return str(PurePosixPath(self.key).parent)


def read_rows(
    paths: Sequence[str],
    options: Mapping[str, Any],
    sizes: Sequence[str | None] = (None,),
    lengths: Sequence[int | None] = (None,),
) -> list[Row]:
    """The rows of some configs; one that cannot be built becomes a refused row and disturbs no other.

    Args:
        options: Overrides for every row alike.
        sizes: Each config is a row at each of these; None is the config as it stands.
        lengths: Likewise, training steps; the schedule of each ends with its last step.

    Raises:
        UserError: A path that does not exist, or two configs of one key.
    """
    rows = [
        row
        for length in lengths
        for size in sizes
        for path in paths
        for row in rows_of_config(path, options, size, length)
    ]
    keys = [row.key for row in rows]
    doubled = next((key for key in keys if keys.count(key) > 1), None)
    if doubled:
        raise UserError(f'benchmark: {doubled} is given twice; leave one out.')
    name_rows(rows)
    for row in rows:
        if row.cfg is not None:
            try_model(row, row.cfg)
    return rows


def name_rows(rows: Sequence[Row]) -> None:
    """Set the names, which depend on what the keys of all rows share."""
    keys = [row.key for row in rows]
    for row in rows:
        row.name = short_name(row.key, keys)


def trainable(rows: Sequence[Row]) -> list[tuple[Row, Config]]:
    """The rows that were not refused, with their configs."""
    return [(row, row.cfg) for row in rows if row.cfg is not None and not row.refusal]


def rows_of_config(path: str, options: Mapping[str, Any], size: str | None, length: int | None = None) -> Iterator[Row]:
    """The config itself, or the cells of its `sweep`, at one size and length."""
    own_key = config_key(find_config(path))
    if length is not None:
        own_key, options = sized_key(own_key, f'steps{length}'), {**options, 'train_cfg.max_iters': length}
    key = sized_key(own_key, size)
    try:
        cfg = load_config(path, options, size=size)
        key = sized_key(own_key, cfg.get('size'))
        sweep, refused = cfg.pop('sweep', None), cfg.pop('refused', ())
        if sweep is None:
            yield Row(key, path, cfg, steps=length)
            return
        cells = [dict(zip(sweep, values, strict=True)) for values in itertools.product(*sweep.values())]
    except UserError as error:
        yield Row(key, path, None, str(error), steps=length)
        return
    for cell in cells:
        row = cell_row(str(PurePosixPath(key).parent / '_'.join(cell.values())), path, cfg, cell, sweep, refused)
        row.steps = length
        yield row


def cell_row(
    key: str,
    path: str,
    whole: Config,
    cell: Mapping[str, str],
    sweep: Mapping[str, Mapping[str, Mapping[str, Any]]],
    refused: Sequence[Mapping[str, str]],
) -> Row:
    """One combination of a sweep's values.

    Args:
        key: The key of the row.
        path: The config as it was given.
        whole: The config without its sweep.
        cell: The value's name for each axis.
        sweep: For each axis, for each value's name, what it sets by dotted path. A dict replaces what is there.
        refused: Combinations that mean nothing: axes with their values, and a `reason`.
    """
    for entry in refused:
        if all(cell[axis] == value for axis, value in entry.items() if axis != 'reason'):
            return Row(key, path, None, entry['reason'])
    try:
        cfg = copy.deepcopy(whole)
        for axis, value in cell.items():
            for dotted, setting in sweep[axis][value].items():
                check_option(cfg, dotted)
                set_option(cfg, dotted, None)
                set_option(cfg, dotted, setting)
        check_arguments(cfg)
    except UserError as error:
        return Row(key, path, None, str(error))
    return Row(key, path, cfg)


@torch.no_grad()
def try_model(row: Row, cfg: Config) -> None:
    """Build the model of a row once; fill in K, L and the bits of an image, or why it cannot be built."""
    try:
        inference_task(cfg.model)
        # With its initial values, which may be in a file that is missing.
        tokenizer = TOKENIZERS.build(cfg.model['tokenizer']).eval()
        side = crop_size(cfg.val_dataloader['dataset'])
        layout = tokenizer.layout(side, side)
        if tokenizer.quantizer is None:
            return
        row.layout = layout
        row.codebook_size = len(tokenizer.quantizer.codebook())
        row.codes_per_image = layout.length
        row.bits_per_image = layout.positions.length * sum(math.log2(size) for size in layout.vocabularies)
    except Exception as error:  # whatever a component in the making raises, the other rows are worth their time
        row.refusal = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'


def config_key(file: Path) -> str:
    """`mini/vq` for `.../configs/mini/vq.py`; for a config from elsewhere its folder and its name."""
    parts = file.resolve().with_suffix('').parts
    if 'configs' in parts:
        start = len(parts) - parts[::-1].index('configs')
        return '/'.join(parts[start:])
    return '/'.join(parts[-2:])


def sized_key(key: str, size: str | None) -> str:
    """`mini/k4096/vq` for `mini/vq` at size k4096; the key itself for a config as it stands."""
    folder, _, name = key.rpartition('/')
    return f'{folder}/{size}/{name}' if size else key


def short_name(key: str, keys: Sequence[str]) -> str:
    """A key without the folders that all keys share."""
    folders = [PurePosixPath(other).parent.parts for other in keys]
    shared = 0
    while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
        shared += 1
    return '/'.join(PurePosixPath(key).parts[shared:])
