"""Train the tokenizer or generator of a config; its work dir gets checkpoints, metrics, pictures and the saved model."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import Config

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
  tools/train.py configs/tuning/tenth_photo.py --init-from work_dirs/nine_photos/tokenizer --freeze encoder
  tools/train.py configs/fvq/fvq_photos.py --work-dir work_dirs/p16 \\
      --cfg-options model.tokenizer.quantizer.projector.patch_size=16 train_cfg.max_iters=300
  tools/train.py configs/mini/fvq.py --size k4096                       # with 4,096 codes
  tools/train.py configs/fvq/fvq_photos.py --track wandb                # offline; wandb sync uploads it
  torchrun --nproc-per-node 8 tools/train.py configs/fvq/fvq_16k.py     # one process a GPU"""


def train_parser() -> ArgumentParser:
    """The options of this command."""
    parser = make_parser('train.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('config', help='a Python config, see configs/')
    add('--work-dir', help='where outputs go; default work_dirs/CONFIG, with --size work_dirs/CONFIG_SIZE')
    add('--resume', nargs='?', const='newest', metavar='PATH', help='continue PATH, or the newest checkpoint, exactly')
    add('--resume-elastic', action='store_true', help='resume on another number of devices: same batch, not every bit')
    add('--init-from', metavar='TOKENIZER', help='start from a saved folder, user/name on the hub or an iter_N.pth')
    add('--freeze', nargs='+', metavar='PART', help='parts that stay as they are, such as: encoder quantizer')
    add('--fresh', nargs='+', metavar='PART', help='parts that start from scratch, not from --init-from')
    add('--cfg-options', nargs='+', action=KeyValueAction, default={}, metavar='KEY=VALUE', help='override the config')
    add('--seed', type=int, help="replaces the config's seed")
    add('--smoke', action='store_true', help='a few tiny CPU steps that prove the config works')
    add('--track', nargs='+', metavar='NAME', help='also log to tensorboard, wandb, mlflow, ...: docs/tracking.md')
    add('--rehearse', type=int, metavar='N', help='the same on N CPU processes, with a kill, a stop and a resume')
    add_size(parser)
    add_launcher(parser)
    return parser


def read_config(args: Namespace) -> Config:
    """The config that parsed options of this command describe."""
    given = {'load_from': args.init_from, 'load_fresh': args.fresh, 'model.freeze': args.freeze}
    options = {**{key: value for key, value in given.items() if value is not None}, **args.cfg_options}
    cfg = load_config(args.config, options, args.work_dir, args.seed, args.size)
    if args.fresh and not cfg.get('load_from'):
        raise UserError(f'--fresh {" ".join(args.fresh)}: nothing is loaded; name the weights with --init-from.')
    return cfg


@command
def main(argv: Sequence[str] | None) -> None:
    args = train_parser().parse_args(argv)
    smoke = args.smoke or args.rehearse is not None
    if smoke or args.track:
        sys.exit(run_command('smoke' if smoke else 'track', argv))  # of other packages, which read the same options
    train(read_config(args), args)


def train(cfg: Config, args: Namespace) -> None:
    """Run a config of `read_config`, with the options that are not part of it."""
    from ..ops.distributed import find_launcher, leave_group
    from ..training.checkpoint import read_checkpoint
    from ..training.runner import Runner

    cfg.launcher = find_launcher(args.launcher)
    if args.resume not in (None, 'newest'):
        read_checkpoint(args.resume)  # before anything is built
        cfg.resume = args.resume
    elif args.resume or args.resume_elastic:
        cfg.resume = True
    cfg.update({'resume_elastic': True} if args.resume_elastic else {})
    if not cfg.get('resume') and int(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')):
        raise UserError('torchrun restarted this run, which would begin from scratch; add --resume to the command.')
    Runner.from_cfg(cfg).train()
    leave_group()
