"""The rows of the paper's tables of numbers, and the configs that claim them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.config.find import find_config
from fvq_core.errors import UserError
from fvq_core.files.json import read_json

LABEL = re.compile(r't\d+(\.\d+)?|f(igure)?\d+')  # a row, a table, a figure
RECONSTRUCTION, GENERATION = 'configs/paper/reconstruction.csv', 'configs/paper/generation.csv'
# Of `paper = dict(...)` in a config: the CSV column, and the metric of ours that it is compared with.
COLUMNS = {
    'rfid_in1k': ('rfid_in1k', 'rfid'),
    'rfid_coco': ('rfid_coco', None),
    'lpips': ('lpips', 'lpips'),
    'psnr': ('psnr', 'psnr'),
    'ssim': ('ssim', 'ssim'),
    'usage': ('usage_pct', 'usage'),
    'fid': ('fid', 'fid'),
    'inception_score': ('is', 'inception_score'),
    'precision': ('precision', 'precision'),
    'recall': ('recall', 'recall'),
}
# Rows whose architecture is not here yet.
STILL_TO_COME = {
    't1.4': 'MaskGIT',
    't8.6': 'MaskGIT',
    't8.1': 'VAE-SD, continuous',
    't8.2': 'VAE-MAR, continuous',
    't8.20': 'TiTok-L',
    't8.21': 'TiTok-B',
    't8.22': 'TiTok-S',
    't8.25': 'MoVQ',
}


def paper_rows() -> dict[str, dict[str, str]]:
    """The rows of every table by id, such as `t3.8`: table 3, row 8."""
    return {**read_table(RECONSTRUCTION), **read_table(GENERATION)}


def read_table(path: str) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by id; every value as printed, '' where there is none."""
    with find_config(path).open(newline='') as file:
        return {row['id']: row for row in csv.DictReader(file)}


def check_numbers(name: str, paper: Mapping[str, Any], rows: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a config's `paper` that does not say what the tables say.

    Args:
        name: Of the config, for messages.
        paper: Its `paper`.
        rows: What `paper_rows` returned.

    Raises:
        UserError: An unknown id, a number that differs, one that no table has or that is left out.
    """
    for row_id in paper['rows']:
        if row_id not in rows:
            raise UserError(f'{name}: the paper has no row {row_id}.')
    for key, (column, _) in COLUMNS.items():
        printed = {float(rows[row_id][column]) for row_id in paper['rows'] if rows[row_id].get(column)}
        said = {float(paper[key])} if key in paper else set()
        if printed != said:
            raise UserError(
                f'{name}: paper.{key} is {said or "missing"}, rows {paper["rows"]} say {printed or "nothing"}.'
            )


def finished_runs(folder: Path) -> dict[str, dict[Path, dict[str, Any]]]:
    """What is in each `metrics.json` below a folder, by work dir, by the config that was trained; no smoke runs."""
    found: dict[str, dict[Path, dict[str, Any]]] = {}
    for path in sorted(folder.rglob('metrics.json')):
        document = read_json(path) or {}
        config, resolved = document.get('config') or '', document.get('resolved_config')
        marker = config.rfind('configs/')
        if marker >= 0 and isinstance(resolved, Mapping) and not resolved.get('smoke'):
            found.setdefault(config[marker:], {})[path.parent] = document
    return found


def is_chosen(only: Sequence[str], name: str, rows: Iterable[str], figure: int | None = None) -> bool:
    """Whether a config, or something of the paper that it stands for, is among what was asked for.

    Args:
        only: Ids of rows (`t1.1`), tables (`t1`), figures (`f6`, `figure6`), or starts of paths with or without
            `configs/`; none for all.
        name: The config, as `config_names` says.
        rows: Ids of its rows.
        figure: The number of its figure.
    """
    labels = {part for row_id in rows for part in (row_id, row_id.split('.')[0])}
    if figure is not None:
        labels |= {f'f{figure}', f'figure{figure}'}
    paths = tuple(one for one in only if not LABEL.fullmatch(one))
    return (
        not only
        or not labels.isdisjoint(only)
        or name.removeprefix('configs/').startswith(paths)
        or name.startswith(paths)
    )
