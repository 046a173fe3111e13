"""A study that was planned before its first run: a question, claims, and what it leaves open, as a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object

from .rows import Row

KEYS = {
    'title': str,
    'question': str,
    'plan': str,
    'claims': list,
    'claimed_at': int,
    'seeds': list,
    'not_measured': list,
}


@dataclass(frozen=True)
class Study:
    """What a page of results is about.

    Attributes:
        question: In a sentence or two.
        plan: Where the plan was written down.
        claims: Pairs of rows: the first minus the second is tested.
        claimed_at: Steps at which claims are tested; other lengths are exploratory.
        seeds: Those of the plan: nothing is tested before all of them have ended, and with no others.
        not_measured: What the study leaves open, a sentence each.
    """

    title: str
    question: str
    plan: str
    claims: tuple[tuple[str, str], ...]
    claimed_at: int
    seeds: tuple[int, ...]
    not_measured: tuple[str, ...]


def read_study(path: str) -> Study:
    """The study of a file.

    Raises:
        UserError: The file is missing or is not such a study.
    """
    found: dict[str, Any] = read_json_object(Path(path), 'name a file such as configs/confirmatory/study.json')
    wrong = [key for key, kind in KEYS.items() if not isinstance(found.get(key), kind)]
    if wrong or found.keys() - KEYS.keys():
        unknown = ', '.join(sorted(found.keys() - KEYS.keys()))
        raise UserError(
            f'benchmark: --study {path}: expected exactly {", ".join(KEYS)}; missing or of another type: '
            f'{", ".join(wrong) or "none"}; unknown: {unknown or "none"}.'
        )
    claims, seeds, open_points = found['claims'], found['seeds'], found['not_measured']
    if not claims or not all(isinstance(pair, list) and len(pair) == 2 and are_texts(pair) for pair in claims):
        raise UserError(f'benchmark: --study {path}: claims must be pairs of row names, such as ["fvq", "mlp5"].')
    if len(seeds) < 2 or len(set(seeds)) < len(seeds) or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise UserError(
            f'benchmark: --study {path}: seeds must be two or more different whole numbers, those of the plan, got {seeds}.'
        )
    if not are_texts(open_points):
        raise UserError(f'benchmark: --study {path}: not_measured must be sentences.')
    pairs = tuple((first, second) for first, second in claims)
    texts = found['title'], found['question'], found['plan']
    return Study(*texts, pairs, found['claimed_at'], tuple(seeds), tuple(open_points))


def study_rows(rows: Sequence[Row], study: Study) -> dict[tuple[str, int], Row]:
    """The rows with a config as a study knows them: by the last part of their keys, which claims name, and their steps.

    Raises:
        UserError: Two rows are one and the same to it, or a claim is about a row that is not there.
    """
    found: dict[tuple[str, int], Row] = {}
    for row in (row for row in rows if row.cfg is not None):
        name, steps = key = study_key(row)
        if key in found:
            raise UserError(
                f'benchmark: --study: {found[key].key} and {row.key} are both {name} after {steps:,} steps; leave one out.'
            )
        found[key] = row
    names = {PurePosixPath(row.key).name for row in rows}
    missing = sorted({name for claim in study.claims for name in claim} - names)
    if missing:
        raise UserError(
            f"benchmark: --study: claims are about '{missing[0]}', and no row of this call is called so (rows: "
            f'{", ".join(sorted(names))}); add its config.'
        )
    return found


def study_key(row: Row) -> tuple[str, int]:
    """The name and the steps of a row that has a config."""
    assert row.cfg is not None
    return PurePosixPath(row.key).name, row.cfg.train_cfg['max_iters']


def are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
