"""Check a data set before a run: what is there, what is missing or odd, and the config lines that use it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from fvq_core.commands.command import command, make_parser

EXAMPLE = """\
  tools/check_data.py imagenet data/imagenet               # both splits
  tools/check_data.py imagenet /scratch/train --split train --decode 1000
  tools/check_data.py coco data/coco
  tools/check_data.py folder my_photos
  tools/check_data.py tar 'data/train-{000000..000146}.tar'   # and make the index of the shards"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('check_data.py', __doc__ or '', EXAMPLE)
    parser.add_argument('kind', choices=('imagenet', 'coco', 'folder', 'tar'), help='what it should be')
    parser.add_argument('path', help='where it is; docs/data.md has the layouts')
    parser.add_argument('--split', choices=('train', 'val'), help='of imagenet; default both')
    parser.add_argument('--decode', type=int, default=0, metavar='N', help='decode N images too, drawn at random')
    args = parser.parse_args(argv)

    from fvq_core.errors import UserError
    from fvq_core.registry import DATASETS

    from . import data_checks as check

    if args.split and args.kind != 'imagenet':
        raise UserError(f'--split is for imagenet; {args.kind} has no splits.')
    if args.decode < 0:
        raise UserError(f'--decode must be 0 or more, got {args.decode}.')
    if args.kind == 'imagenet':
        folders = {args.split: args.path} if args.split else {s: os.path.join(args.path, s) for s in ('train', 'val')}
        checks = [partial(check.check_imagenet, path, split) for split, path in folders.items()]
    else:
        kinds = dict(coco=check.check_coco, folder=check.check_folder, tar=check.check_tar)
        checks = [partial(kinds[args.kind], args.path)]
    for run in checks:
        report = run()
        decoded = check.decode_some(DATASETS.build(report.dataset), args.decode) if args.decode else []
        print('\n'.join([*report.lines, *decoded, '', *report.config_lines(), '']))
