"""The rows of the paper's tables, as they are printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fvq_core.errors import UserError, nearest_hint

from .rows import COLUMNS, GENERATION, RECONSTRUCTION, PaperColumn, paper_rows

# Table 2 shows some rows of table 11.
TABLE_2 = dict(
    zip(
        (f't2.{number}' for number in range(1, 13)),
        (f't11.{number}' for number in (7, 8, 11, 15, 16, 19, 25, 26, 28, 29, 31, 32)),
        strict=True,
    )
)


@dataclass(frozen=True)
class PaperRow:
    """A row of a table.

    Attributes:
        id: Such as `t3.8`.
        setting: What tells it from rows of the same system.
        printed: The numbers as printed, by column.
    """

    id: str
    table: str
    system: str
    setting: str
    printed: Mapping[PaperColumn, str]
    note: str


def paper_table_rows() -> dict[str, PaperRow]:
    """Every row of tables 1, 3, 4, 5, 7, 8, 9 and 11 by id, in the paper's order."""
    found = {}
    for row_id, line in paper_rows().items():
        if 'model' in line:  # a generator
            table, system, parts = row_id.removeprefix('t').split('.')[0], line['model'], (line['type'], line['params'])
        else:
            table, system = line['table'], line['method']
            epochs = f'{line["epochs"]} epochs' if line['epochs'] else ''
            size = f'K {line["codebook_size"]}' if line['codebook_size'] else ''
            dim = f'D {line["code_dim"]}' if line['code_dim'] not in ('', '0') else ''
            parts = (epochs, line['tokens'], size, dim)
        printed = {column: line[key] for key, column in COLUMNS.items() if line.get(key)}
        found[row_id] = PaperRow(row_id, table, system, ', '.join(filter(None, parts)), printed, line['note'])
    return found


def find_row(row_id: str) -> str:
    """The id of a row as the tables here have it; rows of table 2 are rows of table 11."""
    known = paper_table_rows()
    row_id = TABLE_2.get(row_id, row_id)
    if row_id not in known:
        raise UserError(
            f"the paper has no row '{row_id}' in {RECONSTRUCTION} or {GENERATION}; {nearest_hint(row_id, known)}"
        )
    return row_id
