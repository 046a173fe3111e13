"""What was measured: the stamped numbers of finished runs and of scored image sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..analysis.runs import NOT_RUNS
from ..config import find_config, read_config_file
from ..errors import UserError
from ..json_files import read_json
from ..overrides import overrides
from .paper_tables import COCO, IMAGENET, find_row

PATTERN = 'metrics*.json'
WINDOW = 'training window'  # numbers of training batches; no evaluation
SMOKE = re.compile(r'^smoke ?= ?True', re.MULTILINE)
# How protocols say that there were fewer images than the preset asks for, or than a number needs; and what else of a
# protocol is but a count of samples.
PARTIAL = re.compile(r'partial, [\d,]+ of ([\d,]+) images; ')
TOO_FEW = 'TOO FEW'
OF_THE_COUNT = re.compile(rf'{PARTIAL.pattern}|; {TOO_FEW}[^;]*| and \d+ sample features')
# Of an evaluation, not of the run that is evaluated, and shown otherwise or without effect on a digit.
OF_THE_EVALUATION = re.compile(
    r'val_dataloader\.(batch_size|num_workers|pin_memory|prefetch_factor|dataset\.(root|type))'
)
UNKNOWN_FILE = 'the config file is gone'


@dataclass(frozen=True)
class Number:
    """A stamped number; see `MetricValue`.

    Attributes:
        metric: Name.
        value: As in the file.
        unit: Of it.
        protocol: Preset and what it means, in words.
        samples: Images.
        weights: Of which weights.
    """

    metric: str
    value: float
    unit: str
    protocol: str
    samples: int
    weights: str

    @property
    def preset(self) -> str:
        """The name of the preset."""
        return self.protocol.partition(':')[0]

    @property
    def way(self) -> str:
        """The protocol without what the number of samples alone puts into it: how the number was taken."""
        return OF_THE_COUNT.sub('', self.protocol)

    @property
    def required(self) -> int | None:
        """Images that the preset asks for, where there were fewer."""
        found = PARTIAL.search(self.protocol)
        return int(found[1].replace(',', '')) if found else None

    @property
    def partial(self) -> bool:
        """Whether the preset asks for more images."""
        return self.required is not None

    @property
    def too_few(self) -> bool:
        """Whether there were too few images for what is computed."""
        return TOO_FEW in self.protocol

    @property
    def count(self) -> str:
        """Images, and of how many."""
        return f'{self.samples:,}' if self.required is None else f'{self.samples:,} of {self.required:,}'


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
    """

    path: Path
    source: str
    rows: tuple[str, ...]
    data: str
    numbers: tuple[Number, ...]
    overrides: tuple[str, ...] = ()

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
        if file.resolve() in seen:
            continue
        seen.add(file.resolve())
        document = read_json(file)
        try:
            if not isinstance(document, Mapping) or not isinstance(document.get('metrics'), Mapping):
                raise UserError('it is not what tools/train.py, tools/test.py or tools/evaluate.py writes')
            if SMOKE.search(document.get('resolved_config') or ''):
                continue
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


def read_document(path: Path, document: Mapping[str, Any], left_out: list[tuple[str, str]]) -> Measured:
    """One file; numbers that cannot be compared go to `left_out`, except those that no image plays a part in.

    Raises:
        UserError: A claim to a row that the paper does not have.
    """
    numbers = []
    for name, stamped in document['metrics'].items():
        protocol = str(stamped.get('protocol', ''))
        if protocol.startswith(WINDOW) or stamped.get('samples') == 0:
            continue
        if stamped.get('value') is None or stamped.get('samples') is None or ':' not in protocol:
            left_out.append((str(path), f"'{name}' does not say its value, preset and images: not compared"))
            continue
        rest = (stamped.get('unit', ''), protocol, stamped['samples'], stamped.get('weights', ''))
        numbers.append(Number(name.rpartition('/')[2], stamped['value'], *rest))
    text = document.get('resolved_config')
    if not text:
        rows = (find_row(document['row']),) if document.get('row') else ()
        return Measured(path, document.get('samples') or str(path), rows, IMAGENET if rows else '', tuple(numbers))
    resolved = Config.fromstring(text, file_format='.py').to_dict()
    data = evaluation_set(resolved)
    name = config_name(document.get('config') or '')
    try:
        file = read_config_file(str(find_config(name))).to_dict()
    except UserError:
        return Measured(path, name, (), data, tuple(numbers), (UNKNOWN_FILE,))
    rows = tuple((file.get('paper') or {}).get('rows', ()))
    if document.get('presets'):  # each says itself what it evaluates, in place of the config
        resolved, file = ({**each, 'val_dataloader': None, 'val_evaluator': []} for each in (resolved, file))
    changed = tuple(key for key in overrides(resolved, file) if not OF_THE_EVALUATION.fullmatch(key))
    return Measured(path, name, rows, data, tuple(numbers), changed)


def config_name(path: str) -> str:
    """A config from `configs/` on, wherever it lay."""
    marker = path.rfind('configs/')
    return path[marker:] if marker >= 0 else path


def evaluation_set(resolved: Mapping[str, Any]) -> str:
    """What a config evaluates on: `ImageNet` or `COCO` by the folder's name, else the folder, else the dataset."""
    dataset = dict((resolved.get('val_dataloader') or {}).get('dataset') or {})
    where = str(dataset.get('root') or dataset.get('shards') or '')
    for name in (IMAGENET, COCO):
        if name.lower() in where.lower():
            return name
    return where or str(dataset.get('type', '')).rpartition('.')[2]
