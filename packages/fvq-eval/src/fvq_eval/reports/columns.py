"""Columns of a report: one metric under one preset on one evaluation set, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fvq_core.errors import UserError
from fvq_core.stamp import PARTIAL_MARK, TOO_FEW_MARK

from ..runs.measurements import Measured, Number

CHANGED = '*'


@dataclass(frozen=True)
class Column:
    """Where numbers may stand below one another.

    Attributes:
        metric: Name of the metric.
        preset: Name of the preset.
        way: The stamp but for counts of samples: two numbers of one preset that were not taken alike are kept apart too.
        data: The evaluation set.
    """

    metric: str
    preset: str
    way: str
    data: str

    @classmethod
    def of(cls, number: Number, data: str) -> Column:
        """The column of a number."""
        return cls(number.metric, number.preset, number.way, data)

    def cell(self, number: Number, data: str, changed: bool = False) -> str:
        """The text of a cell, marked where it is partial, of too few images, or of a run with overrides.

        Raises:
            UserError: The number belongs into another column.
        """
        if self != Column.of(number, data):
            raise UserError(
                f'report: the column holds {self.metric} under {self.preset} on {self.data or "its reference"} '
                f'({self.way}), got {number.metric} under {number.preset} on {data or "its reference"} '
                f'({number.way}); numbers of two protocols are not compared: give each a column of its own.'
            )
        return f'{number.value:.4g}{PARTIAL_MARK * number.partial}{TOO_FEW_MARK * number.too_few}{CHANGED * changed}'


def find_columns(measured: Iterable[Measured], metric: str) -> list[Column]:
    """The columns that a metric needs, by preset."""
    columns = {Column.of(number, one.data) for one in measured for number in one.numbers if number.metric == metric}
    return sorted(columns, key=lambda column: (column.preset, column.data, column.way))


def label_columns(measured: Iterable[Measured]) -> dict[Column, str]:
    """What tells columns of one metric, preset and evaluation set apart: ` (1)`, ` (2)`; nothing where there is one."""
    alike: dict[tuple[str, str, str], set[Column]] = {}
    for one in measured:
        for column in (Column.of(number, one.data) for number in one.numbers):
            alike.setdefault((column.metric, column.preset, column.data), set()).add(column)
    labels = {}
    for columns in alike.values():
        for place, column in enumerate(sorted(columns, key=lambda column: column.way), 1):
            labels[column] = f' ({place})' if len(columns) > 1 else ''
    return labels


def titles(columns: Iterable[Column], label: str, labels: Mapping[Column, str]) -> list[str]:
    """A head for each column of one metric, with what `label_columns` gives it."""
    return [
        f'{label} [{column.preset}{f", {column.data}" if column.data else ""}]{labels[column]}' for column in columns
    ]
