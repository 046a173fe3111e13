"""The rows of the paper's tables of numbers, and the configs that stand for them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fvq_core.config.find import find_config
from fvq_core.errors import UserError

LABEL = re.compile(r't\d+(\.\d+)?|f(igure)?\d+')  # a row, a table, a figure
RECONSTRUCTION, GENERATION = 'configs/paper/reconstruction.csv', 'configs/paper/generation.csv'
# By key of `paper = dict(...)` in a config: the column of the CSV file, and our metric that it is compared with.
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
    """The rows of a CSV file by id; every value as printed, '' if there is none."""
    with find_config(path).open(newline='') as file:
        return {row['id']: row for row in csv.DictReader(file)}


def check_numbers(name: str, paper: Mapping[str, Any], rows: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if a config's `paper` differs from the tables.

    Args:
        name: Name of the config, for messages.
        paper: Its `paper`.
        rows: See `paper_rows`.

    Raises:
        UserError: An unknown id, a number that differs, one that no table has or that is left out.
    """
    for row_id in paper['rows']:
        if row_id not in rows:
            raise UserError(f'{name}: the paper has no row {row_id}.')
    for key, (column, _) in COLUMNS.items():
        printed = {float(rows[row_id][column]) for row_id in paper['rows'] if rows[row_id].get(column)}
        stated = {float(paper[key])} if key in paper else set()
        if printed != stated:
            raise UserError(
                f'{name}: paper.{key} is {stated or "missing"}, rows {paper["rows"]} have {printed or "nothing"}.'
            )


def is_chosen(only: Sequence[str], name: str, rows: Iterable[str], figure: int | None = None) -> bool:
    """Whether a config, or a row, table or figure that it stands for, was asked for.

    Args:
        only: Ids of rows (`t1.1`), tables (`t1`), figures (`f6`, `figure6`), or starts of paths with or without
            `configs/`; none for all.
        name: The config, as `config_names` lists it.
        rows: Ids of its rows.
        figure: The number of its figure, if it has one.
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
