"""Learning rates that an earlier benchmark chose, and whether it looked at the photos of this one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fvq_core.config.data import plain_values
from fvq_core.errors import UserError
from fvq_core.files.json import read_json

from .photo_data import scored_photos
from .rows import Row, trainable
from .run import FINISHED, PLAN, RESULT, RUNS

SELECTED_BY = 'psnr'


def best_rate(scores: dict[float, float]) -> float | None:
    """The factor with the highest score; None without any."""
    return max(scores, key=lambda factor: scores[factor]) if scores else None


@dataclass(frozen=True)
class ChosenRates:
    """The learning rates that another benchmark chose.

    Attributes:
        best: One factor for each row's key.
        tried: Factors that were tried for every row: the choice is among these.
        ignored: Factors that were tried only for some rows, and would favour them.
    """

    best: dict[str, float]
    tried: list[float]
    ignored: list[float]

    def __str__(self) -> str:
        ignored = f' ({factors_text(self.ignored)} left out: not tried for all)' if self.ignored else ''
        return f'factors {factors_text(self.tried)}{ignored}'


def factors_text(factors: Iterable[float]) -> str:
    """`0.3, 1, 3`"""
    return ', '.join(f'{factor:g}' for factor in factors)


def chosen_rates(folder: Path, rows: Iterable[Row], seed: int) -> ChosenRates:
    """The best factor of each row in another benchmark, by PSNR of its runs with one seed, among those tried for all rows.

    Args:
        folder: The `--work-dir` of that benchmark.
        seed: The first of `--seeds`, which rates are chosen with.

    Raises:
        UserError: A row has no finished run there, or none at a factor that was tried for all.
    """
    names = {row.key: row.name for row in rows}
    results = {key: rate_results(folder, key, seed) for key in names}
    scores = {key: {f: score for f, score in of_row.items() if score is not None} for key, of_row in results.items()}
    missing = [names[key] for key, of_row in scores.items() if not of_row]
    if missing:
        raise UserError(
            f'benchmark: --rates-of {folder} has no finished run with seed {seed} of {", ".join(missing)}; '
            'train them there first, with --lr-factors.'
        )
    tried = set.intersection(*map(set, results.values())) if results else set()
    best = {key: best_rate({f: score for f, score in of_row.items() if f in tried}) for key, of_row in scores.items()}
    if None in best.values():
        found = '; '.join(f'{names[key]}: {factors_text(sorted(of_row))}' for key, of_row in results.items())
        raise UserError(
            f'benchmark: --rates-of {folder} did not tune these rows alike: no factor was tried for all of them and '
            f'finished ({found}); train them there with the same --lr-factors.'
        )
    ignored = set().union(*results.values()) - tried
    chosen = {key: factor for key, factor in best.items() if factor is not None}
    return ChosenRates(chosen, sorted(tried), sorted(ignored))


def choice_text(folder: Path, rows: Iterable[Row], seed: int) -> str:
    """Whether the rates were chosen on photos that the rows are scored on; '' if the other benchmark does not tell."""
    same = []
    for row, cfg in trainable(list(rows)):
        scored_on = scored_photos(plain_values(cfg.to_dict()))
        plans = [read_json(path) for path in (folder / RUNS / row.key).glob(f'lr*/seed{seed}/{PLAN}')]
        same += [bool(scored_on & scored_photos(plan)) for plan in plans if plan is not None] or [None]
    if True in same:
        return ', on photos that rows are scored on here, which flatters them'
    return '' if None in same else ', on other photos'


def rate_results(folder: Path, key: str, seed: int) -> dict[float, float | None]:
    """The score of each factor that was tried for a row; None for one that failed."""
    found = {}
    for rate in (folder / RUNS / key).glob('lr*'):
        result = read_json(rate / f'seed{seed}' / RESULT)
        if result is not None:
            finished = result.get('status') == FINISHED
            score = result['metrics'][SELECTED_BY]['value'] if finished else None
            found[float(rate.name.removeprefix('lr'))] = score
    return found
