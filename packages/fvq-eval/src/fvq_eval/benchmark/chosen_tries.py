"""The best try of each sweep in an earlier benchmark: one row a config, with its start and rates, and their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fvq_core.config.data import plain_values
from fvq_core.errors import UserError
from fvq_core.files.json import read_json

from .chosen_rates import SELECTED_BY, factors_text
from .photo_data import scored_photos
from .rows import Row, trainable
from .run import FINISHED, PLAN, RESULT, RUNS

FINISH = 'finish the tuning there first'


@dataclass(frozen=True)
class ChosenTry:
    """What won for one config.

    Attributes:
        cell: The name of the sweep's cell.
        factor: On the learning rate.
        score: Its PSNR there.
        tries: Runs that ended there, failed ones included.
        seconds: Of their training, as far as results say.
        factors: Each of which every cell was tried with, ascending.
        steps: Of every try.
        scored_on: See `scored_photos`, of all tries.
    """

    cell: str
    factor: float
    score: float
    tries: int
    seconds: float
    factors: tuple[float, ...]
    steps: int
    scored_on: frozenset[str]

    @property
    def edge(self) -> bool:
        """Whether the factor is the smallest or the largest of those tried."""
        return self.factor in (self.factors[0], self.factors[-1])


def keep_best(rows: Sequence[Row], folder: Path, seed: int = 0) -> tuple[list[Row], dict[str, ChosenTry]]:
    """Of each config's cells the one that is best in another benchmark, called like the config.

    Args:
        rows: All cells, at any lengths; the choice is the same for all lengths.
        folder: `--work-dir` of that benchmark, which had the same cells at one length.
        seed: Of the runs that are compared.

    Returns:
        The rows that are left, and what was chosen for each config, by its name.

    Raises:
        UserError: A try has no result there or was of another model, or not all had the same factors and steps, or configs
            had different numbers of tries.
    """
    kept: list[Row] = []
    chosen: dict[str, ChosenTry] = {}
    for source in dict.fromkeys(row.source for row in rows):
        name = PurePosixPath(source).stem
        cells = {cell_name(row): row for row in rows if row.source == source}
        chosen[name] = best_try(name, cells, folder, seed)
        kept += [
            replace(row, key=str(PurePosixPath(row.key).parent / name))
            for row in rows
            if row.source == source and cell_name(row) == chosen[name].cell
        ]
    check_alike({name: each.factors for name, each in chosen.items()}, 'factors', folder)
    check_alike({name: each.steps for name, each in chosen.items()}, 'steps', folder)
    check_alike({name: each.tries for name, each in chosen.items()}, 'numbers of tries', folder)
    return sorted(kept, key=lambda row: row.steps or 0), chosen


def check_alike(values: Mapping[str, Any], what: str, folder: Path) -> None:
    """Raise if what was tried differs."""
    if len(set(values.values())) > 1:
        shown = '; '.join(
            f'{name}: {factors_text(value) if isinstance(value, tuple) else value}' for name, value in values.items()
        )
        raise UserError(f'benchmark: --best-of {folder}: tries had different {what} ({shown}); {FINISH}.')


def check_scored_apart(rows: Sequence[Row], chosen: Mapping[str, ChosenTry], folder: Path) -> None:
    """Raise if the choice was made on photos that the rows of this call are scored on."""
    for row, cfg in trainable(rows):
        if chosen[PurePosixPath(row.source).stem].scored_on & scored_photos(plain_values(cfg.to_dict())):
            raise UserError(
                f'benchmark: --best-of {folder} was scored on the photos that this call is scored on, which would flatter '
                'its choice; tune with --tune, on photos of tune/.'
            )


def cell_name(row: Row) -> str:
    """The last part of its key."""
    return PurePosixPath(row.key).name


def best_try(name: str, cells: Mapping[str, Row], folder: Path, seed: int) -> ChosenTry:
    """See `keep_best`."""
    tries = [
        each
        for row in cells.values()
        if row.cfg is not None and not row.refusal
        for each in tries_of(row, folder, seed)
    ]
    scores = {(each.cell, each.factor): each.score for each in tries if each.score is not None}
    if not scores:
        raise UserError(f'benchmark: --best-of {folder}: every try of {name} failed there.')
    factors: dict[str, tuple[float, ...]] = {}
    for each in tries:
        factors[each.cell] = tuple(sorted([*factors.get(each.cell, ()), each.factor]))
    steps = {f'{each.cell} x {each.factor:g}': each.steps for each in tries if each.steps is not None}
    check_alike(factors, 'factors', folder)
    check_alike(steps, 'steps', folder)
    cell, factor = max(scores, key=lambda key: scores[key])
    seconds, scored_on = (
        sum(each.seconds for each in tries),
        frozenset[str]().union(*(each.scored_on for each in tries)),
    )
    length = steps[f'{cell} x {factor:g}']
    return ChosenTry(cell, factor, scores[cell, factor], len(tries), seconds, factors[cell], length, scored_on)


@dataclass(frozen=True)
class Try:
    """A run of the other benchmark that has ended; without a score if it failed, without steps if it could not start."""

    cell: str
    factor: float
    score: float | None
    seconds: float
    steps: int | None
    scored_on: frozenset[str]


def tries_of(row: Row, folder: Path, seed: int) -> list[Try]:
    """All tries of a cell, whatever its length is here; see `keep_best`."""
    assert row.cfg is not None
    key = '/'.join(part for part in PurePosixPath(row.key).parts if part != f'steps{row.steps}')
    model, found = plain_values(row.cfg.to_dict())['model'], []
    for run in sorted((folder / RUNS / key).glob(f'lr*/seed{seed}')):
        factor = float(run.parent.name.removeprefix('lr'))
        result, plan = read_json(run / RESULT), read_json(run / PLAN)
        finished = result is not None and result.get('status') == FINISHED
        if result is None or (finished and plan is None):
            lacks = 'result' if result is None else PLAN
            raise UserError(f'benchmark: --best-of {folder} has no {lacks} of {cell_name(row)} x {factor:g}; {FINISH}.')
        if plan is not None and plan['model'] != model:
            raise UserError(
                f'benchmark: --best-of {folder} tuned another model as {cell_name(row)}; tune with the --size and '
                '--cfg-options of this call.'
            )
        score = result['metrics'][SELECTED_BY]['value'] if finished else None
        steps, scored_on = (None, ()) if plan is None else (plan['train_cfg']['max_iters'], scored_photos(plan))
        found.append(Try(cell_name(row), factor, score, result.get('seconds', 0.0), steps, frozenset(scored_on)))
    if not found:
        raise UserError(f'benchmark: --best-of {folder} has no result of {cell_name(row)}; {FINISH}.')
    return found


def tuning_sentences(chosen: Mapping[str, ChosenTry], folder: Path) -> list[str]:
    """What was chosen, what it cost, and what lies at the edge."""
    first = next(iter(chosen.values()))
    tries = (
        f'{first.tries} tries a row, of {first.steps:,} steps each, with learning rates x {factors_text(first.factors)}'
    )
    cells = '; '.join(f'{name}: {each.cell} x {each.factor:g}' for name, each in chosen.items())
    minutes = sum(each.seconds for each in chosen.values()) / 60
    notes = [
        f'Start and rates of each row were chosen by {folder} among {tries}: {cells}. '
        f'That took {minutes:.0f} minutes of training, failed tries included.'
    ]
    edge = [name for name, each in chosen.items() if each.edge]
    factors = factors_text(sorted({chosen[name].factor for name in edge}))
    if edge:
        notes.append(f'At the edge of the rates tried, a better one may lie beyond: {", ".join(edge)} (x {factors}).')
    return notes
