"""Train a config."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from ..config.key_value import KeyValueAction
from ..config.read import load_config
from ..errors import UserError
from . import run_command
from .command import add_launcher, add_size, command, make_parser

EXAMPLE = """\
  tools/train.py configs/fvq/fvq_photos.py
  tools/train.py configs/fvq/fvq_photos.py --resume                     # continue the newest checkpoint, exactly
  tools/train.py configs/fvq/fvq_photos.py --smoke                      # a minute: does this config work at all?
  tools/train.py configs/fvq/fvq_photos.py --rehearse 8                 # some minutes: and on 8 processes?
  tools/train.py configs/fvq/fvq_photos.py --work-dir work_dirs/p16 \\
      --cfg-options model.tokenizer.quantizer.projector.patch_size=16 train_cfg.max_iters=300
  tools/train.py configs/mini/fvq.py --size k4096                       # with 4,096 codes
  torchrun --nproc-per-node 8 tools/train.py configs/fvq/fvq_16k.py     # one process a GPU"""


def train_parser() -> ArgumentParser:
    """The options of this command."""
    parser = make_parser('train.py', __doc__ or '', EXAMPLE)
    parser.add_argument('config', help='a Python config, see configs/')
    parser.add_argument(
        '--work-dir', help='where outputs go; default work_dirs/CONFIG, with --size work_dirs/CONFIG_SIZE'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='newest',
        metavar='PATH',
        help='continue exactly from PATH, or from the newest readable checkpoint of the work dir',
    )
    parser.add_argument(
        '--resume-elastic',
        action='store_true',
        help='--resume on another number of devices: keeps the batch of an iteration, if it can, but not every bit',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='override config entries',
    )
    parser.add_argument('--seed', type=int, help="replaces the config's seed")
    parser.add_argument('--smoke', action='store_true', help='a few tiny CPU steps that prove the config works')
    parser.add_argument(
        '--rehearse',
        type=int,
        metavar='N',
        help='the same on N CPU processes, with evaluation, a kill, a stop and a resume',
    )
    add_size(parser)
    add_launcher(parser)
    return parser


@command
def main(argv: Sequence[str] | None) -> None:
    args = train_parser().parse_args(argv)
    if args.smoke or args.rehearse is not None:
        sys.exit(run_command('smoke', argv))  # of another package, which reads the same options

    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.seed, args.size)

    from ..ops.distributed import find_launcher
    from ..training.checkpoint import read_checkpoint
    from ..training.runner import Runner

    cfg.launcher = find_launcher(args.launcher)
    if args.resume not in (None, 'newest'):
        read_checkpoint(args.resume)  # before anything is built
        cfg.resume = args.resume
    elif args.resume or args.resume_elastic:
        cfg.resume = True
    if args.resume_elastic:
        cfg.resume_elastic = True
    if not cfg.get('resume') and int(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')):
        raise UserError(
            'torchrun restarted this run, which would begin again from scratch; add --resume to the command.'
        )
    Runner.from_cfg(cfg).train()
