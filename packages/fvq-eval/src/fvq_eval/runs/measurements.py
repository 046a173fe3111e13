"""What was measured: the stamped numbers of finished runs and of scored image sets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from fvq_core.config.data import config_data, read_config_data
from fvq_core.config.difference import overrides
from fvq_core.config.find import find_config
from fvq_core.config.read import read_config_file
from fvq_core.errors import UserError
from fvq_core.files.json import read_json

from ..paper.tables import COCO, IMAGENET, find_row
from .number import Number, read_number
from .run import NOT_RUNS

PATTERN = 'metrics*.json'
# Of an evaluation, not of the run that is evaluated, and shown otherwise or without effect on a digit.
OF_THE_EVALUATION = re.compile(
    r'val_dataloader\.(batch_size|num_workers|pin_memory|prefetch_factor|dataset\.(root|type))'
)
TEXTS = (
    'config',
    'samples',
    'reference',
    'row',
)  # keys of a file that hold text, where they are there
FOREIGN = 'it is not what tools/train.py, tools/test.py or tools/evaluate.py writes'
UNKNOWN_FILE = 'the config file is gone'


@dataclass(frozen=True)
class Measured:
    """One file of numbers.

    Attributes:
        path: The file.
        source: Config, or image set.
        rows: Ids of the paper's rows that it claims.
        data: The evaluation set.
        numbers: What it holds.
        overrides: Settings in which a run differs from its config file.
        presets: All that each preset means, where the file says it.
    """

    path: Path
    source: str
    rows: tuple[str, ...]
    data: str
    numbers: tuple[Number, ...]
    overrides: tuple[str, ...] = ()
    presets: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The work dir, and the file where it is not the one that training writes."""
        folder = self.path.parent
        return str(folder if self.path.name == 'metrics.json' else self.path)


@dataclass
class Found:
    """Everything below the paths that were named.

    Attributes:
        measured: Files with numbers.
        left_out: Files without, and why.
    """

    measured: list[Measured] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def find_measurements(paths: Sequence[str]) -> Found:
    """Read every `metrics*.json` in and below folders, and files named one by one; no smoke runs, no set-aside runs.

    Raises:
        UserError: A path does not exist, or there is no file of numbers.
    """
    found, seen = Found(), set()
    for file in (file for path in paths for file in list_files(Path(path))):
        real = os.path.realpath(file)  # `resolve` raises for a link to itself
        if real in seen:
            continue
        seen.add(real)
        document = read_json(file)
        try:
            if not is_document(document):
                raise UserError(FOREIGN)
            if not is_smoke(document):
                found.measured.append(read_document(file, document, found.left_out))
        except UserError as error:
            found.left_out.append((str(file), str(error)))
    if not seen:
        raise UserError(f'{", ".join(paths)}: expected {PATTERN} of runs, got none; name work dirs, or such files.')
    return found


def list_files(path: Path) -> Iterator[Path]:
    """The files of numbers that a path names."""
    if path.is_file():
        yield path
    elif path.is_dir():
        files = sorted(path.rglob(PATTERN))
        yield from (file for file in files if not any(map(NOT_RUNS.fullmatch, file.parent.relative_to(path).parts)))
    else:
        raise UserError(f'{path} does not exist; name work dirs of tools/train.py, or JSON files of --out.')


def is_document(document: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether what a file holds has the form of ours."""
    if not isinstance(document, Mapping) or not isinstance(document.get('metrics'), Mapping):
        return False
    if not isinstance(document.get('resolved_config'), Mapping | str | None):
        return False
    return all(document.get(key) is None or isinstance(document[key], str) for key in TEXTS)


def is_smoke(document: Mapping[str, Any]) -> bool:
    """Whether a run only proved that it runs."""
    resolved = document.get('resolved_config')
    return isinstance(resolved, Mapping) and bool(resolved.get('smoke'))


def read_document(path: Path, document: Mapping[str, Any], left_out: list[tuple[str, str]]) -> Measured:
    """One file; numbers that cannot be compared go to `left_out`, except those that no image plays a part in.

    Raises:
        UserError: A claim to a row that the paper does not have, or a config that cannot be read.
    """
    numbers = []
    for name, stamped in document['metrics'].items():
        of_images = {'weights': document['samples']} if document.get('samples') else {}
        number = read_number(name, {**of_images, **stamped} if isinstance(stamped, Mapping) else {})
        if isinstance(number, str):
            left_out.append((str(path), number))
        elif number is not None:
            numbers.append(number)
    kept, presets = document.get('resolved_config'), read_presets(document)
    if not kept:
        rows = (find_row(document['row']),) if document.get('row') else ()
        data = set_name(document.get('reference') or '')
        return Measured(path, document.get('samples') or str(path), rows, data, tuple(numbers), presets=presets)
    remedy = 'train again with tools/train.py, or score it again with tools/test.py --out'
    resolved = config_data(read_config_data(kept, 'it', remedy))
    data = evaluation_set(resolved)
    name = config_name(document.get('config') or '')
    try:
        file = config_data(read_config_file(str(find_config(name)), resolved.get('size')).to_dict())
    except UserError:
        return Measured(path, name, (), data, tuple(numbers), (UNKNOWN_FILE,), presets)
    rows = tuple((file.get('paper') or {}).get('rows', ()))
    if document.get('presets'):  # each says itself what it evaluates, in place of the config
        resolved, file = ({**each, 'val_dataloader': None, 'val_evaluator': []} for each in (resolved, file))
    changed = tuple(key for key in overrides(resolved, file) if not OF_THE_EVALUATION.fullmatch(key))
    return Measured(path, name, rows, data, tuple(numbers), changed, presets)


def read_presets(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """What a file says of its presets: those of `tools/test.py`, or the one of `tools/evaluate.py`."""
    several = document.get('presets')
    found = [*(several.values() if isinstance(several, Mapping) else ()), document.get('preset')]
    return tuple(each for each in found if isinstance(each, Mapping) and 'name' in each)


def config_name(path: str) -> str:
    """A config from `configs/` on, wherever it lay."""
    marker = path.rfind('configs/')
    return path[marker:] if marker >= 0 else path


def evaluation_set(resolved: Mapping[str, Any]) -> str:
    """What a config evaluates on: `ImageNet` or `COCO` by the folder's name, else the folder, else the dataset.

    Raises:
        UserError: It describes no dataset.
    """
    loader = resolved.get('val_dataloader') or {}
    dataset = (loader.get('dataset') or {}) if isinstance(loader, Mapping) else None
    if not isinstance(dataset, Mapping):
        raise UserError(f"'val_dataloader' of its config is {str(loader)[:60]}, expected an object with a dataset.")
    where = str(dataset.get('root') or dataset.get('shards') or '')
    return set_name(where, where) or str(dataset.get('type', '')).rpartition('.')[2]


def set_name(where: str, otherwise: str | None = None) -> str:
    """`ImageNet` or `COCO` where a path has that in it, else `otherwise`, else the name of the file or folder."""
    known = next((name for name in (IMAGENET, COCO) if name.lower() in where.lower()), None)
    return known or (Path(where).name if otherwise is None else otherwise)
