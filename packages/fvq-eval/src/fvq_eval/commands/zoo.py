"""List the models: how to train each, its rows in the paper, published and measured numbers, released weights, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fvq_core.commands.command import add_json, command, give, make_parser
from fvq_core.errors import UserError

if TYPE_CHECKING:
    from ..runs.measurements import Measured
    from .zoo_entries import ZooEntry

EXAMPLE = """\
  tools/zoo.py                        # every config
  tools/zoo.py fvq/ t5                # by path prefix, and the rows of table 5
  tools/zoo.py t1.1                   # one row
  tools/zoo.py t11                    # every row of table 11: to train, or to score from published samples
  tools/zoo.py f6                     # the configs of figure 6
  tools/zoo.py baselines --released --sizes        # configs with released weights, and their sizes
  tools/zoo.py generation --json | jq '.[] | select(.paper.fid < 3) | .name'
  tools/zoo.py baselines --work-dirs /data/runs --measured
Numbers are those of the paper's tables: rFID on the validation images of ImageNet and COCO, PSNR in dB, usage in %. Lines below
a config show finished runs of exactly this config, or samples scored with --row. The licence is that of the repository that
publishes the weights; import them with `tools/convert.py PEER`. A size is `?` if the model's tokenizer is not trained yet."""
LISTED_SETTINGS = 3  # of runs that are not comparable


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('zoo.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('only', nargs='*', help='path prefixes below configs/, tables, figures or rows of the paper; default all')
    add(
        '--kind',
        choices=('tokenizer', 'generator', 'samples'),
        help='show only this kind; samples: rows to score, not to train',
    )
    add('--released', action='store_true', help='show only models with released weights')
    add('--measured', action='store_true', help='show only models with a finished run in --work-dirs')
    add('--work-dirs', default='work_dirs', help='folder searched for finished runs; default work_dirs')
    add('--sizes', action='store_true', help='also show parameters and codes; builds each model, about 0.2 s each')
    add_json(parser, 'a list of name, kind, command, rows, paper, runs, release; with --sizes also the sizes')
    args = parser.parse_args(argv)

    from .zoo_entries import zoo_entries

    entries = zoo_entries(args.only, Path(args.work_dirs))
    if not entries:
        raise UserError(
            f'nothing is called {" or ".join(args.only)}; name the start of a path below configs/, a table of the paper '
            'such as t5, a row such as t1.1, or a figure such as f6.'
        )
    entries = [
        each
        for each in entries
        if args.kind in (None, each.kind) and (each.release or not args.released) and (each.runs or not args.measured)
    ]
    if args.sizes:
        entries = with_sizes(entries)
    print(table(entries, args.sizes))
    give([each.to_dict() for each in entries])


def with_sizes(entries: Sequence[ZooEntry]) -> list[ZooEntry]:
    """The same with their sizes, each built once on no device."""
    from fvq_core.progress import Progress

    from .zoo_entries import model_sizes

    bar = Progress.each(entries, 'building models', len(entries), 'model')
    return [replace(each, sizes={} if each.kind == 'samples' else model_sizes(each.name)) for each in bar]


def table(entries: Sequence[ZooEntry], sizes: bool) -> str:
    """One line a config and one for each of its runs, in columns."""
    lines = [('paper row', 'command', 'parameters', 'paper; below it: measured', 'weights of', 'work dir')]
    for each in entries:
        published = ', '.join(f'{title} {value}' for title, value in printed(each)) or (
            f'figure {each.figure}' if each.figure is not None else ''
        )
        release = str(each.release) if each.release else ''
        lines.append((', '.join(each.rows), each.command, parameters(each), published, release, ''))
        lines += [('', '', '', numbers, '', folder) for numbers, folder in run_lines(each.runs)]
    shown = [column for column in range(6) if sizes or column != 2]
    widths = [max(len(line[column]) for line in lines) for column in shown]
    padded = ([line[column].ljust(width) for column, width in zip(shown, widths, strict=True)] for line in lines)
    return '\n'.join('  '.join(cells).rstrip() for cells in padded)


def parameters(entry: ZooEntry) -> str:
    """`72.1 M`, and of a tokenizer its codes; `?` for one that cannot be built yet, `-` for one that never is."""
    if entry.kind == 'samples':
        return '-'
    found = entry.sizes.get('parameters')
    millions = '?' if found is None else f'{found / 1e6:.1f} M'
    return ', '.join(filter(None, (millions, entry.sizes.get('codes', ''))))


def printed(entry: ZooEntry) -> list[tuple[str, float]]:
    """The paper's numbers of a config, by their short titles."""
    from ..paper.rows import COLUMNS

    return [(column.short_title, entry.paper[column.key]) for column in COLUMNS.values() if column.key in entry.paper]


def run_lines(runs: Sequence[Measured]) -> Iterator[tuple[str, str]]:
    """Numbers and folder of each run of exactly this config, and a line that counts the others."""
    for one in runs:
        if not one.overrides:
            yield measured(one), str(one.path.parent)
    others = [one for one in runs if one.overrides]
    if others:
        keys = sorted({key for one in others for key in one.overrides})
        listed = ', '.join(keys[:LISTED_SETTINGS]) + (', ...' if len(keys) > LISTED_SETTINGS else '')
        runs_are = 'other run' if len(others) == 1 else 'other runs'
        yield f'{len(others)} {runs_are} with overrides: not comparable ({listed})', ''


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
