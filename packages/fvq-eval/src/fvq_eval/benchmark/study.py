"""A study that was planned before its first run: a question, claims, and what it leaves open, as a JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object

KEYS = {'title': str, 'question': str, 'plan': str, 'claims': list, 'claimed_at': int, 'not_measured': list}


@dataclass(frozen=True)
class Study:
    """What a page of results is about.

    Attributes:
        question: In a sentence or two.
        plan: Where the plan was written down.
        claims: Pairs of rows: the first minus the second is tested.
        claimed_at: Steps at which claims are tested; other lengths are exploratory.
        not_measured: What the study leaves open, a sentence each.
    """

    title: str
    question: str
    plan: str
    claims: tuple[tuple[str, str], ...]
    claimed_at: int
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
    claims, open_points = found['claims'], found['not_measured']
    if not claims or not all(isinstance(pair, list) and len(pair) == 2 and are_texts(pair) for pair in claims):
        raise UserError(f'benchmark: --study {path}: claims must be pairs of row names, such as ["fvq", "mlp5"].')
    if not are_texts(open_points):
        raise UserError(f'benchmark: --study {path}: not_measured must be sentences.')
    pairs = tuple((first, second) for first, second in claims)
    texts = found['title'], found['question'], found['plan']
    return Study(*texts, pairs, found['claimed_at'], tuple(open_points))


def are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
