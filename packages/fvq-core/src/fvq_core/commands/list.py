"""List the configs: the paper's rows that each stands for, the paper's numbers, and ours where a work dir has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .command import command, make_parser

EXAMPLE = """\
  tools/list.py                        # every config
  tools/list.py fvq/ t5                # those whose path or whose rows start with any of these
  tools/list.py baselines --work-dirs /data/runs"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('list.py', __doc__ or '', EXAMPLE)
    parser.add_argument('only', nargs='*', help='starts of paths below configs/, or of row ids; all by default')
    parser.add_argument('--work-dirs', default='work_dirs', help='where finished runs are looked for')
    args = parser.parse_args(argv)

    from ..config import read_config_file
    from ..paper_rows import STILL_TO_COME, config_names, paper_rows, work_dirs_by_config

    runs, lines = work_dirs_by_config(Path(args.work_dirs)), []
    for name in config_names():
        paper = read_config_file(name).get('paper') or {}
        rows = list(paper.get('rows', ()))
        short = name.removeprefix('configs/')
        if args.only and not any(label.startswith(tuple(args.only)) for label in (short, name, *rows)):
            continue
        lines.append((', '.join(rows), name, printed(paper), ''))
        lines += [('', '', measured(folder), str(folder)) for folder in runs.get(name, ())]
    for row, method in STILL_TO_COME.items():
        if not args.only or row.startswith(tuple(args.only)):
            lines.append((row, f'({method}: still to come)', f'rFID {paper_rows()[row]["rfid_in1k"]}', ''))
    table = [('paper row', 'config', 'paper; below it: measured', 'work dir'), *lines]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print('  '.join([*cells, line[3]]).rstrip())


def printed(paper: dict[str, Any]) -> str:
    """The paper's numbers of a config in one cell."""
    from ..paper_rows import COLUMNS

    labels = {'rfid_in1k': 'rFID', 'rfid_coco': 'COCO', 'lpips': 'LPIPS', 'psnr': 'PSNR', 'ssim': 'SSIM', 'usage': 'usage'}
    cells = [f'{labels[key]} {paper[key]}' for key in COLUMNS if key in paper]
    return ', '.join(cells) or (f'figure {paper["figure"]}' if 'figure' in paper else '')


def measured(folder: Path) -> str:
    """A finished run's numbers in one cell, with the count of images they were taken over."""
    from ..paper_rows import COLUMNS

    metrics = json.loads((folder / 'metrics.json').read_text())['metrics']
    ours = [metric for _, metric in COLUMNS.values() if metric in metrics]
    cells = [f'{name.upper() if name != "usage" else name} {metrics[name]["value"]:.4g}' for name in ours]
    samples = sorted({metrics[name]['samples'] for name in ours})
    return f'{", ".join(cells)} ({", ".join(map(str, samples))} images)'
