"""The rows of the paper's tables of numbers, and the configs that stand for them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fvq_core.config.find import find_config
from fvq_core.errors import UserError

LABEL = re.compile(r't\d+(\.\d+)?|f(igure)?\d+')  # a row, a table, a figure
RECONSTRUCTION, GENERATION = 'configs/paper/reconstruction.csv', 'configs/paper/generation.csv'
IMAGENET, COCO = 'ImageNet', 'COCO'


@dataclass(frozen=True)
class PaperColumn:
    """A column of the paper's tables.

    Attributes:
        key: Its key in `paper = dict(...)` of a config.
        title: Its title in the paper.
        data: The evaluation set of the paper's numbers.
        metrics: Names of our metrics; several if the paper does not specify which of them it reports.
    """

    key: str
    title: str
    data: str
    metrics: tuple[str, ...]

    @property
    def short_title(self) -> str:
        """The title without unit, for a list of numbers."""
        return self.title.removeprefix('rFID ').split()[0]


# By column of the CSV files.
COLUMNS = {
    'rfid_in1k': PaperColumn('rfid_in1k', 'rFID', IMAGENET, ('rfid',)),
    'rfid_coco': PaperColumn('rfid_coco', 'rFID COCO', COCO, ('rfid',)),
    'lpips': PaperColumn('lpips', 'LPIPS', IMAGENET, ('lpips', 'lpips_alex', 'lpips_vgg', 'lpips_squeeze')),
    'psnr': PaperColumn('psnr', 'PSNR dB', IMAGENET, ('psnr', 'psnr_y')),
    'ssim': PaperColumn('ssim', 'SSIM', IMAGENET, ('ssim',)),
    'usage_pct': PaperColumn('usage', 'usage %', IMAGENET, ('usage',)),
    'fid': PaperColumn('fid', 'FID', IMAGENET, ('fid',)),
    'is': PaperColumn('inception_score', 'IS', IMAGENET, ('inception_score',)),
    'precision': PaperColumn('precision', 'precision', IMAGENET, ('precision',)),
    'recall': PaperColumn('recall', 'recall', IMAGENET, ('recall',)),
}


def paper_rows() -> dict[str, dict[str, str]]:
    """The rows of every table by id, such as `t3.8`: table 3, row 8."""
    return {**read_table(RECONSTRUCTION), **read_table(GENERATION)}


def read_table(path: str) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by id; every value as printed, '' if there is none."""
    with find_config(path).open(newline='') as file:
        return {row['id']: row for row in csv.DictReader(file)}


def check_numbers(name: str, paper: Mapping[str, Any], rows: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if a config's `paper` differs from the tables."""
    for row_id in paper['rows']:
        if row_id not in rows:
            raise UserError(f'{name}: the paper has no row {row_id}.')
    for name_in_csv, column in COLUMNS.items():
        key = column.key
        printed = {float(rows[row_id][name_in_csv]) for row_id in paper['rows'] if rows[row_id].get(name_in_csv)}
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
