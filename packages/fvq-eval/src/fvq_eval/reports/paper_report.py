"""Paper against measured, row by row: Markdown, CSV and HTML with pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.stamp import PARTIAL_MARK, TOO_FEW_MARK

from ..paper.rows import PaperColumn
from ..paper.tables import PaperRow, paper_table_rows
from ..presets.protocol_facts import facts_text
from ..runs.measurements import Found, Measured
from .blocks import Block, Code, Heading, Picture, Table, Text
from .columns import OVERRIDES_MARK, Column, find_columns, label_columns, titles
from .html import to_html
from .markdown import to_markdown
from .output_files import make_folder, write_csv

NOTHING = '-'
ROW_CELLS = {'row': 'id', 'table': 'table', 'system': 'system', 'setting': 'setting'}
PICTURES = ('reconstructions.png', 'curves.png')
LEGEND = (
    'Each line is a row of the paper and a run of its config. A column holds one metric under one preset on one evaluation '
    'set; columns are numbered if their protocols differ. Presets and numbers are described in full below. Only a column '
    f'of the same protocol as the paper can confirm or refute the paper. {PARTIAL_MARK}: fewer images than the preset '
    f'asks for. {TOO_FEW_MARK}: too few for this number at all, such as a covariance of more dimensions than images. '
    f'{OVERRIDES_MARK}: the run differs from its config file, see below.'
)


def write_paper_report(found: Found, out: str, command: str, only: Sequence[str] = ()) -> dict[str, Path]:
    """Write `report.md`, `report.csv`, `report.html` and copies of the runs' pictures; return the files by suffix.

    Args:
        command: What was called, to be repeated.
        only: Tables (`t5`) and rows (`t11.31`) of the paper; all by default.

    Raises:
        UserError: None of those rows exists.
    """
    rows, labels = chosen_rows(only), label_columns(found.measured)
    folder = make_folder(out)
    blocks: list[Block] = [Heading('Paper against measured', 1), Code(command), Text(LEGEND)]
    for table in dict.fromkeys(row.table for row in rows):
        blocks += table_blocks(table, [row for row in rows if row.table == table], found.measured, labels)
    claimed = {row.id for row in paper_table_rows().values()}
    others = [] if only else [one for one in found.measured if claimed.isdisjoint(one.rows)]
    shown = [one for one in found.measured if one in others or not {row.id for row in rows}.isdisjoint(one.rows)]
    blocks += [*other_blocks(others, labels), *override_blocks(shown), *preset_blocks(shown)]
    blocks += [*stamp_blocks(shown, labels), *section('Files left out', ['file', 'why'], found.left_out)]
    blocks += picture_blocks(shown, folder)
    files = {suffix: folder / f'report.{suffix}' for suffix in ('md', 'csv', 'html')}
    write_csv(files['csv'], csv_lines(rows, others, found.measured))
    files['md'].write_text(to_markdown(blocks))
    files['html'].write_text(to_html(blocks))
    return files


def chosen_rows(only: Sequence[str]) -> list[PaperRow]:
    """The rows asked for."""
    rows = [row for row in paper_table_rows().values() if not only or {row.id, f't{row.table}'} & set(only)]
    if not rows:
        raise UserError(f'report: no row or table is called {", ".join(only)}; such are t5 and t11.31.')
    return rows


def table_blocks(
    table: str, rows: Sequence[PaperRow], measured: Sequence[Measured], labels: Mapping[Column, str]
) -> list[Block]:
    """One table of the paper with the measured columns beside the paper's."""
    ids = {row.id for row in rows}
    claims = [one for one in measured if not ids.isdisjoint(one.rows)]
    printed = list(dict.fromkeys(column for row in rows for column in row.printed))
    head, columns = ['row', 'system', 'setting', 'run', 'images'], []
    for column in printed:
        own = measured_columns(column, printed, claims)
        head.append(f'{column.title}, paper')
        for metric in column.metrics:
            label = column.title.removesuffix(' COCO') if metric == column.metrics[0] else metric
            head += titles([each for each in own if each.metric == metric], label, labels)
        columns.append((column, own))
    lines = []
    for row in rows:
        runs: list[Measured | None] = [one for one in claims if row.id in one.rows]
        for one in runs or [None]:
            cells = [row.id, row.system, row.setting, NOTHING if one is None else one.name, images(one)]
            for column, own in columns:
                cells += [row.printed.get(column, NOTHING), *(cell(one, each) for each in own)]
            lines.append(cells)
    notes = '; '.join(f'{row.id}: {row.note}' for row in rows if row.note)
    title = 'Tables 2 and 11' if table == '11' else f'Table {table}'
    return [Heading(title), Table(head, lines, text=True), *([Text(f'Notes: {notes}.')] if notes else [])]


def measured_columns(column: PaperColumn, printed: Sequence[PaperColumn], claims: Sequence[Measured]) -> list[Column]:
    """What stands beside a column of the paper: its evaluation set, and those that no other column of it is of."""
    alike = [other for other in printed if other.metrics == column.metrics]
    taken = {other.data for other in alike if other != column}
    own = [each for metric in column.metrics for each in find_columns(claims, metric)]
    return [each for each in own if each.data == column.data or (alike[0] == column and each.data not in taken)]


def cell(one: Measured | None, column: Column) -> str:
    """A run's number in a column."""
    for metric, number in () if one is None else one.numbers:
        if one is not None and Column.of(metric, number, one.data) == column:
            return column.cell(metric, number, one.data, bool(one.overrides))
    return NOTHING


def images(one: Measured | None) -> str:
    """Over how many images the numbers of a run were taken."""
    counts = () if one is None else dict.fromkeys(count_text(number) for _, number in one.numbers)
    return ' / '.join(counts) or NOTHING


def count_text(number: MetricValue) -> str:
    """`50,000`, or `500 of 50,000` if it is partial."""
    return f'{number.samples:,} of {number.required:,}' if number.partial else f'{number.samples:,}'


def other_blocks(others: Sequence[Measured], labels: Mapping[Column, str]) -> list[Block]:
    """Runs that claim no row of the paper."""
    lines = [[one.name, one.source, one.data or NOTHING, images(one), summary(one, labels)] for one in others]
    return section(
        'Runs that stand for no row', ['run', 'config or samples', 'evaluation set', 'images', 'numbers'], lines
    )


def section(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[Block]:
    """A table of words under a heading; nothing without lines."""
    return [Heading(title), Table(head, lines, text=True)] if lines else []


def summary(one: Measured, labels: Mapping[Column, str]) -> str:
    """Every number of a run with its preset."""
    columns = [(metric, number, Column.of(metric, number, one.data)) for metric, number in one.numbers]
    return ', '.join(
        f'{metric} [{number.preset}]{labels[column]} {column.cell(metric, number, one.data, bool(one.overrides))}'
        for metric, number, column in columns
    )


def override_blocks(measured: Sequence[Measured]) -> list[Block]:
    """In what runs differ from their config files."""
    lines = [[one.name, one.source, ', '.join(one.overrides)] for one in measured if one.overrides]
    head = [f'run {OVERRIDES_MARK}', 'config', 'settings that differ: not the run that the config describes']
    return section('Runs with overrides', head, lines)


def preset_blocks(measured: Sequence[Measured]) -> list[Block]:
    """Every field of each preset, once; a preset that was applied in two ways is shown twice, with the runs of each."""
    runs: dict[str, list[str]] = {}
    for one in measured:
        for preset in one.presets:
            runs.setdefault(facts_text(preset), []).append(one.name)
    blocks = [block for words in sorted(runs) for block in (Text(f'{", ".join(runs[words])}:'), Code(words))]
    return [Heading('What each preset is'), *blocks] if blocks else []


def stamp_blocks(measured: Sequence[Measured], labels: Mapping[Column, str]) -> list[Block]:
    """Every number with its whole stamp."""
    lines = [
        [
            *(metric, number.preset, labels[Column.of(metric, number, one.data)].strip() or NOTHING, one.name),
            *(repr(number.value), number.unit or NOTHING, count_text(number)),
            *(number.weights or NOTHING, one.data or NOTHING, number.stamp),
        ]
        for one in measured
        for metric, number in one.numbers
    ]
    lines.sort(key=lambda line: line[:4])
    head = ['number', 'preset', 'column', 'run', 'value', 'unit', 'images', 'weights', 'evaluation set', 'protocol']
    return section('What each number is', head, lines)


def picture_blocks(measured: Iterable[Measured], folder: Path) -> list[Block]:
    """The pictures of the runs, copied beside the report."""
    blocks: list[Block] = []
    for work_dir in dict.fromkeys(one.path.parent for one in measured):
        for picture in (work_dir / name for name in PICTURES):
            if picture.is_file():
                copied = folder / f'{re.sub(r"[^A-Za-z0-9._-]+", "_", str(work_dir)).strip("._")}_{picture.name}'
                shutil.copyfile(picture, copied)
                blocks.append(Picture(copied, f'{work_dir}: {picture.stem}'))
    return [Heading('Pictures'), *blocks] if blocks else []


def csv_lines(
    rows: Sequence[PaperRow], others: Sequence[Measured], measured: Sequence[Measured]
) -> list[dict[str, Any]]:
    """One line for each number of each run, and one for each number of the paper that no run has."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        claims = [one for one in measured if row.id in one.rows]
        found = {(metric, one.data) for one in claims for metric, _ in one.numbers}
        lines += [line(row, one, *pair) for one in claims for pair in one.numbers]
        for column, printed in row.printed.items():
            if not any((metric, column.data) in found for metric in column.metrics):
                only = {'metric': column.metrics[0], 'evaluation_set': column.data, 'paper': printed}
                lines.append({**row_cells(row), **only})
    return lines + [line(None, one, *pair) for one in others for pair in one.numbers]


def row_cells(row: PaperRow | None) -> dict[str, str]:
    """The first cells of a line: which row of the paper it is for, if it is for one."""
    return {key: '' if row is None else getattr(row, at) for key, at in ROW_CELLS.items()}


def line(row: PaperRow | None, one: Measured, metric: str, number: MetricValue) -> dict[str, Any]:
    """A measured number beside the paper's of the same metric and evaluation set, if the paper has one."""
    printed = {} if row is None else row.printed
    paper = next((words for each, words in printed.items() if metric in each.metrics and each.data == one.data), '')
    return {
        **row_cells(row),
        'metric': metric,
        'evaluation_set': one.data,
        'paper': paper,
        'measured': repr(number.value),
        'unit': number.unit,
        'preset': number.preset,
        'protocol': number.protocol,
        'images': number.samples,
        'images_required': number.required if number.partial else '',
        'partial': number.partial,
        'too_few': bool(number.too_few),
        'weights': number.weights or '',
        'source': one.source,
        'overrides': ' '.join(one.overrides),
        'file': str(one.path),
    }
