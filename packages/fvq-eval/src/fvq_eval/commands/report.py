"""Compare measured numbers with the paper's, row by row: Markdown, CSV, and HTML with the runs' pictures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from fvq_core.commands.command import add_json, command, give, make_parser

EXAMPLE = """\
  tools/report.py work_dirs                                   # every run and every scored image set below it
  tools/report.py work_dirs/fvq_16k adm.json --rows t3 t11.31
  tools/report.py work_dirs --out reports/june"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('report.py', __doc__ or '', EXAMPLE)
    parser.add_argument(
        'work_dirs', nargs='+', help='folders searched for metrics*.json at any depth, or JSON files written by --out'
    )
    parser.add_argument(
        '--rows', nargs='+', default=(), metavar='ID', help='tables (t5) or rows (t11.31) to show; default all'
    )
    parser.add_argument('--out', default='work_dirs/report', help='output folder; default %(default)s')
    add_json(parser, 'files of the report, measured (work_dir, rows, data, numbers and so on), left_out')
    args = parser.parse_args(argv)

    from ..reports.paper_report import write_paper_report
    from ..runs.measurements import find_measurements

    found = find_measurements(args.work_dirs)
    line = shlex.join(['tools/report.py', *(sys.argv[1:] if argv is None else argv)])
    files = write_paper_report(found, args.out, line, args.rows)
    for path, why in found.left_out:
        print(f'left out: {path}: {why}')
    print(f'{len(found.measured)} result files; report: {", ".join(map(str, files.values()))}')
    give(
        {
            'report': {suffix: str(path) for suffix, path in files.items()},
            'measured': [{'source': one.source, 'rows': list(one.rows), **one.to_dict()} for one in found.measured],
            'left_out': [{'file': path, 'why': why} for path, why in found.left_out],
        }
    )
