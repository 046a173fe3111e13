"""Columns of a report: one metric under one preset on one evaluation set, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.stamp import PARTIAL_MARK, TOO_FEW_MARK

from ..runs.measurements import Measured

OVERRIDES_MARK = '*'


@dataclass(frozen=True)
class Column:
    """Numbers that may stand below one another.

    Attributes:
        protocol: How the numbers were computed: two numbers of one preset whose protocols differ are kept apart too.
    """

    metric: str
    preset: str
    protocol: str
    data: str

    @classmethod
    def of(cls, metric: str, number: MetricValue, data: str) -> Column:
        """The column of a number."""
        return cls(metric, number.preset, number.protocol, data)

    def cell(self, metric: str, number: MetricValue, data: str, overrides: bool = False) -> str:
        """The text of a cell, marked if it is partial, of too few images, or of a run with overrides."""
        if self != Column.of(metric, number, data):
            raise UserError(
                f'report: the column holds {self.metric} under {self.preset} on {self.data or "its reference"} '
                f'({self.protocol}), got {metric} under {number.preset} on {data or "its reference"} '
                f'({number.protocol}); numbers of two protocols are not compared: give each a column of its own.'
            )
        marks = ((PARTIAL_MARK, number.partial), (TOO_FEW_MARK, number.too_few), (OVERRIDES_MARK, overrides))
        return f'{number.value:.4g}{"".join(mark for mark, applies in marks if applies)}'


def find_columns(measured: Iterable[Measured], metric: str) -> list[Column]:
    """The columns that a metric needs, by preset."""
    columns = {column for column in all_columns(measured) if column.metric == metric}
    return sorted(columns, key=lambda column: (column.preset, column.data, column.protocol))


def all_columns(measured: Iterable[Measured]) -> set[Column]:
    """The columns that some files need."""
    return {Column.of(metric, number, one.data) for one in measured for metric, number in one.numbers}


def label_columns(measured: Iterable[Measured]) -> dict[Column, str]:
    """What tells columns of one metric, preset and evaluation set apart: ` (1)`, ` (2)`; '' if there is only one."""
    alike: dict[tuple[str, str, str], set[Column]] = {}
    for column in all_columns(measured):
        alike.setdefault((column.metric, column.preset, column.data), set()).add(column)
    labels = {}
    for columns in alike.values():
        for position, column in enumerate(sorted(columns, key=lambda column: column.protocol), 1):
            labels[column] = f' ({position})' if len(columns) > 1 else ''
    return labels


def titles(columns: Iterable[Column], label: str, labels: Mapping[Column, str]) -> list[str]:
    """A head for each column of one metric, with its label from `label_columns`."""
    return [
        f'{label} [{column.preset}{f", {column.data}" if column.data else ""}]{labels[column]}' for column in columns
    ]
