"""Runs in their work dirs: found, named by their config, and grouped over seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvq_core.config.data import RESOLVED_CONFIG, read_config_data
from fvq_core.config.difference import experiment
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object, read_json_value
from fvq_core.training.hooks.history import HISTORY_NAME, History

from .find import run_files


@dataclass(frozen=True)
class Run:
    """One work dir.

    Attributes:
        name: Name of its config file if the run is finished, else of the work dir without the seed.
        config: The resolved config, without what another seed may differ in.
    """

    path: Path
    name: str
    seed: int
    config: dict[str, Any]
    rows: list[dict[str, Any]]


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs of work dirs, and of folders of work dirs, sorted by path in each.

    Raises:
        UserError: A path is not a folder, or holds no run.
    """
    runs: dict[Path, Run] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f'{path} is not a folder; name work dirs of tools/train.py, or a folder of them.')
        found = [file.parent for file in run_files(path, HISTORY_NAME)]
        if not found:
            raise UserError(f'{path} holds no run: there is no {HISTORY_NAME} in it or below it.')
        runs |= {each.resolve(): read_run(each) for each in found if each.resolve() not in runs}
    return list(runs.values())


def read_run(work_dir: Path) -> Run:
    """One run, finished or not."""
    path = work_dir / RESOLVED_CONFIG
    remedy = f'tools/train.py {work_dir / "config.py"} --resume --work-dir {work_dir} writes it again'
    saved = read_json_value(path, remedy) if path.exists() else None
    config: dict[str, Any] = read_config_data(saved, str(path), remedy).to_dict()
    seed = read_seed(config, path)
    name = without_seed(work_dir.resolve(), seed)
    if (work_dir / 'metrics.json').exists():
        try:
            file = Path(read_json_object(work_dir / 'metrics.json', 'evaluate the run again')['config'] or 'config.py')
        except (KeyError, TypeError) as error:
            raise UserError(f'{work_dir / "metrics.json"} is not what a run writes: {error!r}.') from error
        if file.name != 'config.py':  # that is the copy in some work dir, not a file that somebody named
            name = file.stem
    return Run(work_dir, name, seed, experiment(config, start=False), History(work_dir / HISTORY_NAME).rows())


def read_seed(config: Mapping[str, Any], path: Path) -> int:
    """The seed of a resolved config, 0 without one."""
    randomness = config.get('randomness') or {}
    seed = (randomness.get('seed') or 0) if isinstance(randomness, Mapping) else randomness
    if not isinstance(seed, int):
        raise UserError(f"{path}: 'randomness' is {str(randomness)[:60]}, expected an object with an integer seed.")
    return seed


def without_seed(work_dir: Path, seed: int) -> str:
    """`fvq-2`, `fvq_seed2` and `fvq/seed_2` are all `fvq` if 2 is the seed."""
    pattern = rf'[-_.]?(seed[-_]?)?{seed}'
    return (
        re.sub(f'(?<=.){pattern}$', '', work_dir.name)
        if not re.fullmatch(pattern, work_dir.name)
        else work_dir.parent.name
    )


def group_runs(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of one config and other seeds, by the config's name; two configs of one name are told apart by a work dir."""
    by_config: dict[str, list[Run]] = {}
    for run in runs:
        by_config.setdefault(fingerprint(run.config), []).append(run)
    names = [group[0].name for group in by_config.values()]
    folders = [group[0].path.name for group in by_config.values()]
    labels = {}
    for name, group in zip(names, by_config.values(), strict=True):
        folder = group[0].path if folders.count(group[0].path.name) > 1 else group[0].path.name
        labels[name if names.count(name) == 1 else f'{name} ({folder})'] = group
    return labels


def fingerprint(config: Mapping[str, Any]) -> str:
    """Equal for equal configs, whatever the order of their keys."""
    return json.dumps(config, sort_keys=True, default=str)


def final_mean(run: Run, split: str, keys: Iterable[str], share: float = 0.1) -> float | None:
    """The sum of some values, as a mean over the last rows of a split; None if a run has none of them.

    Args:
        keys: Keys of the values that are summed; a row need not have them all.
        share: Share of the rows that count, from the end; at least one row.
    """
    keys = tuple(keys)
    sums = [
        sum(row[key] for key in keys if key in row)
        for row in run.rows
        if row['split'] == split and any(key in row for key in keys)
    ]
    last = sums[-max(1, round(share * len(sums))) :]
    return sum(last) / len(last) if last else None
