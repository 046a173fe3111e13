"""The best try of each sweep in an earlier benchmark: one row a config, with its start and rates, and their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fvq_core.errors import UserError
from fvq_core.files.json import read_json

from .chosen_rates import SELECTED_BY, factors_text
from .rows import Row
from .run import FINISHED, RESULT, RUNS


@dataclass(frozen=True)
class ChosenTry:
    """What won for one config.

    Attributes:
        cell: The name of the sweep's cell.
        factor: On the learning rate.
        score: Its PSNR there.
        tries: Runs that ended there, failed ones included.
        seconds: Of their training.
        edge: Whether the factor is the smallest or the largest of those tried.
    """

    cell: str
    factor: float
    score: float
    tries: int
    seconds: float
    edge: bool


def keep_best(rows: Sequence[Row], folder: Path, seed: int = 0) -> tuple[list[Row], dict[str, ChosenTry]]:
    """Of each config's cells the one that is best in another benchmark, called like the config.

    Args:
        rows: All cells, at any lengths; the choice is the same for all lengths.
        folder: `--work-dir` of that benchmark, which had the same cells at one length.
        seed: Of the runs that are compared.

    Returns:
        The rows that are left, and what was chosen for each config, by its name.

    Raises:
        UserError: A cell has no result there, or configs had different numbers of tries.
    """
    kept, chosen = [], {}
    for source in dict.fromkeys(row.source for row in rows):
        name = PurePosixPath(source).stem
        cells = {cell_name(row): row for row in rows if row.source == source}
        chosen[name] = best_try(name, cells, folder, seed)
        kept += [
            replace(row, key=str(PurePosixPath(row.key).parent / name))
            for row in rows
            if row.source == source and cell_name(row) == chosen[name].cell
        ]
    counts = {name: each.tries for name, each in chosen.items()}
    if len(set(counts.values())) > 1:
        raise UserError(
            f'benchmark: --best-of {folder}: rows had different numbers of tries '
            f'({", ".join(f"{name} {count}" for name, count in counts.items())}); finish the tuning.'
        )
    return sorted(kept, key=lambda row: row.steps or 0), chosen


def cell_name(row: Row) -> str:
    """The last part of its key."""
    return PurePosixPath(row.key).name


def best_try(name: str, cells: Mapping[str, Row], folder: Path, seed: int) -> ChosenTry:
    """See `keep_best`."""
    scores: dict[tuple[str, float], float] = {}
    tries, seconds, factors = 0, 0.0, set()
    for cell, row in cells.items():
        parts = PurePosixPath(row.key).parts
        key = '/'.join(part for part in parts if part != f'steps{row.steps}')
        found = sorted((folder / RUNS / key).glob(f'lr*/seed{seed}/{RESULT}'))
        if not found and not row.refusal:
            raise UserError(f'benchmark: --best-of {folder} has no result of {cell}; finish the tuning there first.')
        for path in found:
            result, factor = read_json(path) or {}, float(path.parts[-3].removeprefix('lr'))
            tries, seconds = tries + 1, seconds + result.get('seconds', 0.0)
            factors.add(factor)
            if result.get('status') == FINISHED:
                scores[cell, factor] = result['metrics'][SELECTED_BY]['value']
    if not scores:
        raise UserError(f'benchmark: --best-of {folder}: every try of {name} failed there.')
    cell, factor = max(scores, key=lambda key: scores[key])
    return ChosenTry(cell, factor, scores[cell, factor], tries, seconds, factor in (min(factors), max(factors)))


def tuning_sentences(chosen: Mapping[str, ChosenTry], folder: Path) -> list[str]:
    """What was chosen, what it cost, and what lies at the edge."""
    count = next(iter(chosen.values())).tries
    cells = '; '.join(f'{name}: {each.cell} x {each.factor:g}' for name, each in chosen.items())
    minutes = sum(each.seconds for each in chosen.values()) / 60
    notes = [
        f'Start and rates of each row were chosen by {folder} among {count} tries a row: {cells}. '
        f'That took {minutes:.0f} minutes of training.'
    ]
    edge = [name for name, each in chosen.items() if each.edge]
    factors = factors_text(sorted({chosen[name].factor for name in edge}))
    if edge:
        notes.append(f'At the edge of the rates tried, a better one may lie beyond: {", ".join(edge)} (x {factors}).')
    return notes
