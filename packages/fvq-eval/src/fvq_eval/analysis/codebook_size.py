"""Loss against codebook size, one line a projector (figure 7 of the paper)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fvq_core.config.walk import components
from fvq_core.errors import UserError

from ..runs.run import Run, fingerprint

SIZE_KEYS = ('codebook_size', 'patch_size')  # what a row of another size may differ in
VQ_TERMS = ('loss/codebook', 'loss/commitment')


@dataclass(frozen=True)
class Line:
    """Runs that differ only in codebook size and seed.

    Attributes:
        name: Name of the projector, with what else tells two lines apart.
        runs: Runs by codebook size, ascending.
    """

    name: str
    runs: dict[int, list[Run]]


def size_lines(runs: Iterable[Run]) -> list[Line]:
    """Lines of runs, sorted by name."""
    lines: dict[str, list[Run]] = {}
    for run in runs:
        config = copy.deepcopy(run.config)
        for _, node in components(config.get('model')):
            for key in SIZE_KEYS:
                node.pop(key, None)
        lines.setdefault(fingerprint(config), []).append(run)
    names = [projector_name(group[0].config) for group in lines.values()]
    found = []
    for name, group in zip(names, lines.values(), strict=True):
        by_size: dict[int, list[Run]] = {}
        for run in sorted(group, key=codebook_size):
            by_size.setdefault(codebook_size(run), []).append(run)
        found.append(Line(name if names.count(name) == 1 else f'{name} ({group[0].name})', by_size))
    return sorted(found, key=lambda line: line.name)


def vector_quantizer(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first component below the model that has a `codebook_size`."""
    nodes = (node for _, node in components(config.get('model')))
    return next((node for node in nodes if 'codebook_size' in node), None)


def codebook_size(run: Run) -> int:
    """K."""
    quantizer = vector_quantizer(run.config)
    if quantizer is None:
        raise UserError(f'{run.path}: its quantizer has no codebook_size; leave this run out.')
    return int(quantizer['codebook_size'])


def projector_name(config: Mapping[str, Any]) -> str:
    """The projector's type without `Projector`, and whether the learning rate is annealed."""
    projector = (vector_quantizer(config) or {}).get('projector') or {'type': 'IdentityProjector'}
    name = str(projector['type']).rsplit('.', 1)[-1].removesuffix('Projector')
    depth = f'-{projector.get("depth", 5)}' if name == 'MLP' else ''
    scheduler = config.get('param_scheduler')
    constant = isinstance(scheduler, Mapping) and scheduler.get('decay') == 'none'
    return f'{name}{depth}{", no annealing" if constant else ""}'
