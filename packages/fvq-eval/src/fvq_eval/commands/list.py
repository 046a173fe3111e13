"""List the configs: the paper's rows that each stands for, the paper's numbers, and ours where a work dir has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.commands.command import command, make_parser
from fvq_core.errors import UserError

EXAMPLE = """\
  tools/list.py                        # every config
  tools/list.py fvq/ t5                # those whose path starts so, and the rows of table 5
  tools/list.py t1.1                   # one row
  tools/list.py f6                     # the configs of figure 6
  tools/list.py baselines --work-dirs /data/runs"""

NAMED = 3  # settings of runs that are not comparable


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('list.py', __doc__ or '', EXAMPLE)
    parser.add_argument(
        'only', nargs='*', help='starts of paths below configs/, tables, figures, or ids of rows; all by default'
    )
    parser.add_argument('--work-dirs', default='work_dirs', help='where finished runs are looked for')
    args = parser.parse_args(argv)

    from fvq_core.config.find import config_names
    from fvq_core.config.read import read_config_file

    from ..paper.rows import STILL_TO_COME, finished_runs, is_chosen, paper_rows

    runs, lines = finished_runs(Path(args.work_dirs)), []
    for name in config_names():
        cfg = read_config_file(name)
        paper = cfg.get('paper') or {}
        rows = list(paper.get('rows', ()))
        if is_chosen(args.only, name, rows, paper.get('figure')):
            lines += [(', '.join(rows), name, printed(paper), ''), *run_lines(name, runs.get(name, {}))]
    for row, method in STILL_TO_COME.items():
        if is_chosen(args.only, '', [row]):
            lines.append((row, f'({method}: still to come)', f'rFID {paper_rows()[row]["rfid_in1k"]}', ''))
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


def run_lines(name: str, runs: Mapping[Path, Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """A line for each run of exactly this config, and one that counts the others."""
    if not runs:  # most configs; registries need not be read for them
        return
    from fvq_core.config.data import config_data, read_config_data
    from fvq_core.config.difference import overrides
    from fvq_core.config.read import read_config_file

    strange = []
    for folder, document in runs.items():
        kept = read_config_data(document['resolved_config'], str(folder / 'metrics.json'), 'train it again')
        try:
            file = config_data(read_config_file(name, kept.get('size')).to_dict())
            changed = overrides(config_data(kept), file)
        except UserError:  # a size that the config does not have
            changed = ['size']
        if changed:
            strange.append(changed)
        else:
            yield '', '', measured(document['metrics']), str(folder)
    if strange:
        keys = sorted({key for changed in strange for key in changed})
        named = ', '.join(keys[:NAMED]) + (', ...' if len(keys) > NAMED else '')
        runs_are = 'other run' if len(strange) == 1 else 'other runs'
        yield '', '', f'{len(strange)} {runs_are} with overrides: not comparable ({named})', ''


def printed(paper: dict[str, Any]) -> str:
    """The paper's numbers of a config in one cell."""
    from ..paper.rows import COLUMNS

    labels = {
        'rfid_in1k': 'rFID',
        'rfid_coco': 'COCO',
        'lpips': 'LPIPS',
        'psnr': 'PSNR',
        'ssim': 'SSIM',
        'usage': 'usage',
        'fid': 'FID',
        'inception_score': 'IS',
        'precision': 'precision',
        'recall': 'recall',
    }
    cells = [f'{labels[key]} {paper[key]}' for key in COLUMNS if key in paper]
    return ', '.join(cells) or (f'figure {paper["figure"]}' if 'figure' in paper else '')


def measured(metrics: Mapping[str, Any]) -> str:
    """A finished run's numbers in one cell, with the count of images they were taken over."""
    from ..paper.rows import COLUMNS

    ours = [metric for _, metric in COLUMNS.values() if metric in metrics]
    cells = [f'{name.upper() if name != "usage" else name} {metrics[name]["value"]:.4g}' for name in ours]
    samples = sorted({metrics[name]['samples'] for name in ours})
    return f'{", ".join(cells)} ({", ".join(map(str, samples))} images)'
