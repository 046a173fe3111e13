"""Train the tokenizer or generator of a config; checkpoints, metrics, pictures and the saved model go to its work dir."""

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
  tools/train.py configs/fvq/fvq_photos.py --resume                     # continue from the newest checkpoint
  tools/train.py configs/fvq/fvq_photos.py --smoke                      # one minute: does this config work?
  tools/train.py configs/fvq/fvq_photos.py --rehearse 8                 # a few minutes: does it work on 8 processes?
  tools/train.py configs/tuning/tenth_photo.py --init-from work_dirs/nine_photos/tokenizer --freeze encoder
  tools/train.py configs/fvq/fvq_photos.py --work-dir work_dirs/p16 \\
      --cfg-options model.tokenizer.quantizer.projector.patch_size=16 train_cfg.max_iters=300
  tools/train.py configs/mini/fvq.py --size k4096                       # with 4,096 codes
  tools/train.py configs/fvq/fvq_photos.py --track wandb                # logs offline; `wandb sync` uploads
  torchrun --nproc-per-node 8 tools/train.py configs/fvq/fvq_16k.py     # one process per GPU"""


def train_parser(prog: str = 'train.py', description: str = __doc__ or '', example: str = EXAMPLE) -> ArgumentParser:
    """The options of this command, which others that train share."""
    parser = make_parser(prog, description, example)
    add = parser.add_argument
    add('config', help='a Python config, see configs/')
    add('--work-dir', help='output folder; default work_dirs/CONFIG, with --size work_dirs/CONFIG_SIZE')
    add('--resume', nargs='?', const='newest', metavar='PATH', help='continue from PATH; default the newest checkpoint')
    add('--resume-elastic', action='store_true', help='resume on another number of devices: same batch, not bit-exact')
    add('--init-from', metavar='TOKENIZER', help='initial weights: a folder, user/name on the hub or an iter_N.pth')
    add('--freeze', nargs='+', metavar='PART', help='parts of the model not to train, such as: encoder quantizer')
    add('--fresh', nargs='+', metavar='PART', help='parts to initialize from scratch instead of from --init-from')
    add('--cfg-options', nargs='+', action=KeyValueAction, default={}, metavar='KEY=VALUE', help='override the config')
    add('--seed', type=int, help="random seed; default: the config's")
    add('--smoke', action='store_true', help='check that the config works, in a few tiny steps on the CPU')
    add('--track', nargs='+', metavar='NAME', help='also log to tensorboard, wandb, mlflow, ...; see docs/tracking.md')
    add('--rehearse', type=int, metavar='N', help='like --smoke, on N CPU processes, with a kill, a stop and a resume')
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
