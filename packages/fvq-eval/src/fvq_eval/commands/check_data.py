"""Check a data set before training: what is there, what is missing or unusual, and the config lines that use it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from fvq_core.commands.command import add_json, command, give, make_parser

EXAMPLE = """\
  tools/check_data.py imagenet data/imagenet               # both splits
  tools/check_data.py imagenet /scratch/train --split train --decode 1000
  tools/check_data.py coco data/coco
  tools/check_data.py folder my_photos
  tools/check_data.py tar 'data/train-{000000..000146}.tar'   # also builds the index of the shards
  tools/check_data.py webdataset 'https://HOST/train-{000000..000146}.tar'   # reads it once, to count the images
  tools/check_data.py huggingface ylecun/mnist --split test --label label
  tools/check_data.py huggingface parquet --data-files 'my/*.parquet' --image jpeg
  tools/check_data.py huggingface-stream parquet --data-files https://HOST/0.parquet https://HOST/1.parquet"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('check_data.py', __doc__ or '', EXAMPLE)
    kinds = ('imagenet', 'coco', 'folder', 'tar', 'webdataset', 'huggingface', 'huggingface-stream')
    parser.add_argument('kind', choices=kinds, help='kind of data set')
    parser.add_argument('path', help='its folder, pattern, address or name on the hub; layouts are in docs/data.md')
    parser.add_argument('--split', help='imagenet: train or val, default both; huggingface: default train')
    parser.add_argument('--image', metavar='COLUMN', help='huggingface: image column; default image')
    parser.add_argument('--label', metavar='COLUMN', help='huggingface: label column; default none')
    parser.add_argument(
        '--data-files', nargs='+', metavar='FILE', help='huggingface: data files, if PATH is a format such as parquet'
    )
    parser.add_argument('--decode', type=int, default=0, metavar='N', help='also decode N random images; default 0')
    add_json(
        parser, 'a list with, for each split, dataset (its config), train (whether for training), found (lines), loader'
    )
    args = parser.parse_args(argv)

    from fvq_core.errors import UserError
    from fvq_core.registry import DATASETS

    from . import data_checks as check
    from . import remote_data_checks as remote

    columns = dict(split=args.split, image=args.image, label=args.label, data_files=args.data_files)
    given = [
        name for name, value in columns.items() if value is not None and (name != 'split' or args.kind != 'imagenet')
    ]
    if given and not args.kind.startswith('huggingface'):
        option = given[0].replace('_', '-')
        raise UserError(
            f'--{option} is for {"imagenet and " if option == "split" else ""}huggingface, not for {args.kind}.'
        )
    if args.kind == 'imagenet' and args.split not in (None, 'train', 'val'):
        raise UserError(f"--split of imagenet is train or val, got '{args.split}'.")
    if args.decode < 0:
        raise UserError(f'--decode must be 0 or more, got {args.decode}.')
    if args.kind == 'imagenet':
        folders = {args.split: args.path} if args.split else {s: os.path.join(args.path, s) for s in ('train', 'val')}
        checks = [partial(check.check_imagenet, path, split) for split, path in folders.items()]
    elif args.kind in remote.KINDS:
        checks = [partial(remote.check_remote, args.kind, args.path, {name: columns[name] for name in given})]
    else:
        checkers = dict(coco=check.check_coco, folder=check.check_folder, tar=check.check_tar)
        checks = [partial(checkers[args.kind], args.path)]
    results = []
    for run in checks:
        report = run()
        decoded = check.decode_some(DATASETS.build(report.dataset), args.decode) if args.decode else []
        found, loader = [*report.lines, *decoded], report.config_lines()
        print('\n'.join([*found, '', *loader, '']))
        results.append({'dataset': report.dataset, 'train': report.train, 'found': found, 'loader': '\n'.join(loader)})
    give(results)
