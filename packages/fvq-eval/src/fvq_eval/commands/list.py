"""List the configs: the rows of the paper that each stands for, the paper's numbers, and ours if a work dir has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvq_core.commands.command import command, make_parser
from fvq_core.errors import UserError

if TYPE_CHECKING:
    from ..runs.measurements import Measured

EXAMPLE = """\
  tools/list.py                        # every config
  tools/list.py fvq/ t5                # those whose path starts so, and the rows of table 5
  tools/list.py t1.1                   # one row
  tools/list.py f6                     # the configs of figure 6
  tools/list.py baselines --work-dirs /data/runs"""

METRICS = 'metrics.json'
LISTED_SETTINGS = 3  # of runs that are not comparable


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('list.py', __doc__ or '', EXAMPLE)
    parser.add_argument('only', nargs='*', help='starts of paths below configs/, tables, figures, rows; default all')
    parser.add_argument('--work-dirs', default='work_dirs', help='where finished runs are looked for')
    args = parser.parse_args(argv)

    from fvq_core.config.find import config_names
    from fvq_core.config.read import read_config_file

    from ..paper.rows import is_chosen

    runs, lines = finished_runs(Path(args.work_dirs)), []
    for name in config_names():
        cfg = read_config_file(name)
        paper = cfg.get('paper') or {}
        rows = list(paper.get('rows', ()))
        if is_chosen(args.only, name, rows, paper.get('figure')):
            lines += [(', '.join(rows), name, printed(paper), ''), *run_lines(runs.get(name, []))]
    if not lines:
        raise UserError(
            f'nothing is called {" or ".join(args.only)}; name the start of a path below configs/, a table of the paper '
            'such as t5, a row such as t1.1, or a figure such as f6.'
        )
    table = [('paper row', 'config', 'paper; below it: measured', 'work dir'), *lines]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print('  '.join([*cells, line[3]]).rstrip())


def finished_runs(folder: Path) -> dict[str, list[Measured]]:
    """The finished runs below a folder by their config."""
    if not folder.is_dir() or next(folder.rglob(METRICS), None) is None:
        return {}  # the registries, which take seconds, are not needed
    from ..runs.measurements import find_measurements

    found: dict[str, list[Measured]] = {}
    for one in find_measurements([folder]).measured:
        if one.path.name == METRICS:
            found.setdefault(one.source, []).append(one)
    return found


def run_lines(runs: Sequence[Measured]) -> Iterator[tuple[str, str, str, str]]:
    """A line for each run of exactly this config, and one that counts the others."""
    for one in runs:
        if not one.overrides:
            yield '', '', measured(one), str(one.path.parent)
    others = [one for one in runs if one.overrides]
    if others:
        keys = sorted({key for one in others for key in one.overrides})
        listed = ', '.join(keys[:LISTED_SETTINGS]) + (', ...' if len(keys) > LISTED_SETTINGS else '')
        runs_are = 'other run' if len(others) == 1 else 'other runs'
        yield '', '', f'{len(others)} {runs_are} with overrides: not comparable ({listed})', ''


def printed(paper: dict[str, Any]) -> str:
    """The paper's numbers of a config in one cell."""
    from ..paper.rows import COLUMNS

    cells = [f'{column.short_title} {paper[column.key]}' for column in COLUMNS.values() if column.key in paper]
    return ', '.join(cells) or (f'figure {paper["figure"]}' if 'figure' in paper else '')


def measured(run: Measured) -> str:
    """A finished run's numbers in one cell, with how many images of which evaluation set they are of."""
    from ..paper.rows import COLUMNS

    numbers, titles = dict(run.numbers), {}
    for column in COLUMNS.values():
        if column.metrics[0] in numbers:
            titles.setdefault(column.metrics[0], column.short_title)  # two columns are of rFID
    cells = [f'{title} {numbers[metric].value:.4g}' for metric, title in titles.items()]
    samples = sorted({numbers[metric].samples for metric in titles})
    return f'{", ".join(cells)} ({", ".join(map(str, samples))} images of {run.data})'
