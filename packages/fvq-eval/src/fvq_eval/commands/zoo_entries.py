"""What `tools/zoo.py` knows of a model: its command, rows, numbers of the paper, finished runs, released weights, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvq_core.config.find import config_names
from fvq_core.config.read import read_config_file
from fvq_core.errors import UserError

from ..paper.releases import Release, releases
from ..paper.rows import COLUMNS, is_chosen
from ..paper.tables import paper_table_rows

if TYPE_CHECKING:
    from ..runs.measurements import Measured

METRICS = 'metrics.json'
SAMPLES = 'samples'


@dataclass(frozen=True)
class ZooEntry:
    """A config, or a row of the paper that is scored from samples which others drew.

    Attributes:
        name: The config's path from `configs/` on, or the row's system.
        kind: `tokenizer`, `generator` or `samples`.
        rows: Ids of the paper's rows that it stands for.
        paper: The paper's numbers, by our key; see `paper.rows.COLUMNS`.
        figure: The paper's figure that it stands for, if any.
        runs: Finished runs.
        release: Weights of another project that it describes.
    """

    name: str
    kind: str
    rows: Sequence[str]
    paper: dict[str, float]
    figure: int | None
    runs: Sequence[Measured]
    release: Release | None
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What makes its numbers."""
        if self.kind == SAMPLES:
            return f'tools/evaluate.py SAMPLES --row {self.rows[0]}'
        return f'tools/train.py {self.name}'

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        runs = [one.to_dict() for one in self.runs]
        known = {
            'name': self.name,
            'kind': self.kind,
            'command': self.command,
            'rows': list(self.rows),
            'figure': self.figure,
        }
        released = self.release.to_dict() if self.release else None
        return {**known, 'paper': self.paper, 'runs': runs, 'release': released, **self.sizes}


def zoo_entries(only: Sequence[str], work_dirs: Path) -> list[ZooEntry]:
    """The chosen configs, sorted by path, then the rows of table 11 without one; see `is_chosen`."""
    runs, released, entries, claimed = finished_runs(work_dirs), releases(), [], set()
    for name in config_names():
        cfg = read_config_file(name)
        paper = cfg.get('paper') or {}
        rows = list(paper.get('rows', ()))
        claimed |= set(rows)
        if not is_chosen(only, name, rows, paper.get('figure')):
            continue
        numbers = {column.key: paper[column.key] for column in COLUMNS.values() if column.key in paper}
        kind = 'generator' if 'generator' in cfg.get('model', {}) else 'tokenizer'
        release = released.get(name.removeprefix('configs/').removesuffix('.py'))
        measured = [one for key in (name, *rows) for one in runs.get(key, ())]
        entries.append(ZooEntry(name, kind, rows, numbers, paper.get('figure'), measured, release))
    for row in paper_table_rows().values():
        if row.table == '11' and row.id not in claimed and is_chosen(only, 'configs/generation/', [row.id]):
            numbers = {column.key: float(printed) for column, printed in row.printed.items()}
            entries.append(ZooEntry(row.system, SAMPLES, [row.id], numbers, None, runs.get(row.id, []), None))
    return entries


def finished_runs(folder: Path) -> dict[str, list[Measured]]:
    """The finished runs below a folder by their config, and scored image sets by the row that they stand for."""
    if not folder.is_dir() or next(folder.rglob(METRICS), None) is None:
        return {}  # the registries, which take seconds, are not needed
    from ..runs.measurements import find_measurements

    found: dict[str, list[Measured]] = {}
    for one in find_measurements([folder]).measured:
        if one.path.name == METRICS:
            keys = (one.source,) if one.source.startswith('configs/') else one.rows
            for key in keys:
                found.setdefault(key, []).append(one)
    return found


def model_sizes(name: str) -> dict[str, Any]:
    """Parameters of a config's model and, of a tokenizer, its codes; built without memory for weights.

    Returns:
        `parameters`, and of a tokenizer `folded_parameters`, as it is shipped, and `codes` of 256 x 256 pixels in words; or
        `sizes`, the reason why they are not known: such as a generator whose tokenizer is still to be trained.
    """
    import torch

    from fvq_core.zoo import REGISTRIES, model_config

    try:
        kind, description = model_config(name)
        with torch.device('meta'):
            model = REGISTRIES[kind].build(description)
            folded = model.fold() if hasattr(model, 'fold') and getattr(model, 'quantizer', None) else None
    except UserError as error:
        return {'parameters': None, 'sizes': str(error)}
    found: dict[str, Any] = {'parameters': count(model)}
    if kind == 'tokenizer':
        found['folded_parameters'] = count(folded if folded is not None else model)
        found['codes'] = str(model.layout(256, 256))
    return found


def count(model: Any) -> int:
    """The number of a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
