"""Learning rates that an earlier benchmark chose, so that no choice looks at the photos of this one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..json_files import read_json
from .rows import Row
from .run import FINISHED, RESULT, RUNS

SELECTED_BY = 'psnr'


def best_rate(scores: dict[float, float]) -> float | None:
    """The factor with the highest score; None without any."""
    return max(scores, key=lambda factor: scores[factor]) if scores else None


def chosen_rates(folder: Path, rows: Iterable[Row], seed: int) -> dict[str, float]:
    """The best factor of each row in another benchmark, by PSNR of its runs with one seed.

    Args:
        folder: The `--work-dir` of that benchmark.
        rows: To be looked up by their keys.
        seed: The first of `--seeds`, which rates are chosen with.

    Raises:
        UserError: A row has no finished run there.
    """
    chosen, missing = {}, []
    for row in rows:
        scores = {}
        for rate in (folder / RUNS / row.key).glob('lr*'):
            result = read_json(rate / f'seed{seed}' / RESULT) or {}
            if result.get('status') == FINISHED:
                scores[float(rate.name.removeprefix('lr'))] = result['metrics'][SELECTED_BY]['value']
        best = best_rate(scores)
        if best is None:
            missing.append(row.name)
        else:
            chosen[row.key] = best
    if missing:
        raise UserError(
            f'benchmark: --rates-of {folder} has no finished run with seed {seed} of {", ".join(missing)}; '
            'train them there first, with --lr-factors.'
        )
    return chosen
