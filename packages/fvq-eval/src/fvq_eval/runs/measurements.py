"""What was measured: the stamped numbers of finished runs and of scored image sets."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from fvq_core.config.data import config_data, read_config_data
from fvq_core.config.difference import differing, experiment
from fvq_core.config.find import find_config
from fvq_core.config.read import read_config_file
from fvq_core.config.walk import leaves
from fvq_core.errors import UserError
from fvq_core.files.json import read_json
from fvq_core.metric import MetricValue

from ..paper.rows import COCO, IMAGENET
from ..paper.tables import find_row
from .find import run_files

PATTERN = 'metrics*.json'
# Settings that a later evaluation may change: reports show them elsewhere, or they change no digit.
EVALUATION_SETTINGS = re.compile(
    r'val_dataloader\.(batch_size|num_workers|pin_memory|prefetch_factor|dataset\.(root|type))'
)
TEXT_KEYS = ('config', 'samples', 'reference', 'row')  # each may be missing
NONE = type(None)
FIELD_TYPES: dict[str, tuple[type, ...]] = {
    'value': (int, float),
    'unit': (str,),
    'protocol': (str,),
    'samples': (int,),
    'tokens': (int, NONE),
    'preset': (str,),
    'required': (int, NONE),
    'too_few': (str, NONE),
    'weights': (str, NONE),
}
FOREIGN = 'it is not what tools/train.py, tools/test.py or tools/evaluate.py writes'
NO_CONFIG_FILE = 'the config file is gone'


@dataclass(frozen=True)
class Measured:
    """One file of numbers.

    Attributes:
        source: Config, or image set.
        rows: Ids of the paper's rows that it stands for.
        numbers: Names of metrics, without their presets, and the values.
        overrides: Settings in which a run differs from its config file.
        presets: Every field of each preset, if the file holds them.
    """

    path: Path
    source: str
    rows: tuple[str, ...]
    data: str
    numbers: tuple[tuple[str, MetricValue], ...]
    overrides: tuple[str, ...] = ()
    presets: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The work dir, or the file if training did not write it."""
        folder = self.path.parent
        return str(folder if self.path.name == 'metrics.json' else self.path)

    def to_dict(self) -> dict[str, Any]:
        """Where, of what and how much, as JSON has it; a number is its value and how many images it is of."""
        numbers = {name: [number.value, number.samples] for name, number in self.numbers}
        overrides = list(self.overrides)
        return {'work_dir': str(self.path.parent), 'overrides': overrides, 'data': self.data, 'numbers': numbers}


@dataclass
class Found:
    """Files with numbers, and those that cannot be used, with the reason."""

    measured: list[Measured] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def find_measurements(paths: Sequence[str | Path]) -> Found:
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
        raise UserError(
            f'{", ".join(map(str, paths))}: expected {PATTERN} of runs, got none; name work dirs, or files.'
        )
    return found


def list_files(path: Path) -> list[Path]:
    """The files of numbers that a path names."""
    if path.is_file():
        return [path]
    if path.is_dir():
        return run_files(path, PATTERN)
    raise UserError(f'{path} does not exist; name work dirs of tools/train.py, or JSON files of --out.')


def is_document(document: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether the content of a file has the structure that our commands write."""
    if not isinstance(document, Mapping) or not isinstance(document.get('metrics'), Mapping):
        return False
    if not isinstance(document.get('resolved_config'), Mapping | str | None):
        return False
    return all(document.get(key) is None or isinstance(document[key], str) for key in TEXT_KEYS)


def is_smoke(document: Mapping[str, Any]) -> bool:
    """Whether the file is of a smoke run."""
    resolved = document.get('resolved_config')
    return isinstance(resolved, Mapping) and bool(resolved.get('smoke'))


def read_document(path: Path, document: Mapping[str, Any], left_out: list[tuple[str, str]]) -> Measured:
    """One file; numbers that cannot be compared go to `left_out`, except those that no preset applies to."""
    numbers = []
    for name, fields in document['metrics'].items():
        if isinstance(fields, Mapping) and fields.get('preset') == '':
            continue
        value = read_value(fields, document.get('samples'))
        if value is None:
            left_out.append((str(path), f"'{name}' lacks its value, preset, protocol or images: not compared"))
        elif value.samples:
            numbers.append((name.removeprefix(f'{value.preset}/'), value))
    kept, presets = document.get('resolved_config'), read_presets(document)
    if not kept:
        rows = (find_row(document['row']),) if document.get('row') else ()
        data = set_name(document.get('reference') or '')
        return Measured(path, document.get('samples') or str(path), rows, data, tuple(numbers), presets=presets)
    remedy = 'train again with tools/train.py, or score it again with tools/test.py --out'
    resolved = config_data(read_config_data(kept, 'it', remedy))
    data = evaluation_set(resolved)
    name = document.get('config') or ''
    name = name[max(name.rfind('configs/'), 0) :]
    try:
        file = config_data(read_config_file(str(find_config(name)), resolved.get('size')).to_dict())
    except UserError:
        return Measured(path, name, (), data, tuple(numbers), (NO_CONFIG_FILE,), presets)
    rows = tuple((file.get('paper') or {}).get('rows', ()))
    if document.get('presets'):  # presets decide what is evaluated, not the config
        resolved, file = ({**each, 'val_dataloader': None, 'val_evaluator': []} for each in (resolved, file))
    changed = tuple(key for key in overrides(resolved, file) if not EVALUATION_SETTINGS.fullmatch(key))
    return Measured(path, name, rows, data, tuple(numbers), changed, presets)


def overrides(run: Mapping[str, Any], file: Mapping[str, Any]) -> list[str]:
    """The settings, by dotted path, in which the resolved config of a run departs from its file; added metrics don't count."""
    found, expected = experiment(run, start=True), experiment(file, start=True)
    known = expected['val_evaluator'] = expected.get('val_evaluator') or []
    found['val_evaluator'] = [metric for metric in found.get('val_evaluator') or [] if metric in known]
    return list(differing(leaves(found), leaves(expected)))


def read_value(fields: Any, samples: str | None) -> MetricValue | None:
    """A number of a file, with the scored images in place of weights; None if its fields are not those of a `MetricValue`."""
    if not isinstance(fields, Mapping):
        return None
    found: dict[str, Any] = {'unit': '', 'weights': samples}
    found |= {key: fields[key] for key in FIELD_TYPES if key in fields}
    whole = {'value', 'protocol', 'samples', 'preset'} <= found.keys()
    valid = whole and all(type(value) in FIELD_TYPES[key] for key, value in found.items())
    return MetricValue(**found) if valid and math.isfinite(found['value']) else None


def read_presets(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The presets of a file: those of `tools/test.py`, or the one of `tools/evaluate.py`."""
    several = document.get('presets')
    found = [*(several.values() if isinstance(several, Mapping) else ()), document.get('preset')]
    return tuple(each for each in found if isinstance(each, Mapping) and 'name' in each)


def evaluation_set(resolved: Mapping[str, Any]) -> str:
    """The evaluation set of a config: `ImageNet` or `COCO` if the folder's name has that in it, else the folder or dataset."""
    loader = resolved.get('val_dataloader') or {}
    dataset = (loader.get('dataset') or {}) if isinstance(loader, Mapping) else None
    if not isinstance(dataset, Mapping):
        raise UserError(f"'val_dataloader' of its config is {str(loader)[:60]}, expected an object with a dataset.")
    where = str(dataset.get('root') or dataset.get('shards') or '')
    return set_name(where, where) or str(dataset.get('type', '')).rpartition('.')[2]


def set_name(where: str, otherwise: str | None = None) -> str:
    """`ImageNet` or `COCO` if a path has that in it, else `otherwise`, else the name of the file or folder."""
    known = next((name for name in (IMAGENET, COCO) if name.lower() in where.lower()), None)
    return known or (Path(where).name if otherwise is None else otherwise)
