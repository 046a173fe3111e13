"""Train a config."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.key_value import KeyValueAction
from ..config.read import load_config
from .command import add_launcher, add_size, command, make_parser

EXAMPLE = """\
  tools/train.py configs/fvq/fvq_photos.py
  tools/train.py configs/fvq/fvq_photos.py --resume                     # continue the newest checkpoint, exactly
  tools/train.py configs/fvq/fvq_photos.py --smoke                      # a minute: does this config work at all?
  tools/train.py configs/fvq/fvq_photos.py --work-dir work_dirs/p16 \\
      --cfg-options model.tokenizer.quantizer.projector.patch_size=16 train_cfg.max_iters=300
  tools/train.py configs/mini/fvq.py --size k4096                       # with 4,096 codes
  torchrun --nproc-per-node 8 tools/train.py configs/fvq/fvq_16k.py     # one process a GPU"""


@command
def main(argv: Sequence[str] | None) -> None:
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
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='override config entries',
    )
    parser.add_argument('--seed', type=int, help="replaces the config's seed")
    parser.add_argument('--smoke', action='store_true', help='a few tiny CPU steps that prove the config works')
    add_size(parser)
    add_launcher(parser)
    args = parser.parse_args(argv)

    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.seed, args.size)
    if args.smoke:
        from ..training.smoke import run_smoke, shrink_config

        cfg = shrink_config(cfg)
        if args.work_dir is None:
            cfg.work_dir += '_smoke'
        run_smoke(cfg, lambda line: print(f'smoke: {line}'))
        return

    from ..ops.distributed import find_launcher
    from ..training.checkpoint import read_checkpoint
    from ..training.runner import Runner

    cfg.launcher = find_launcher(args.launcher)
    if args.resume == 'newest':
        cfg.resume = True
    elif args.resume:
        read_checkpoint(args.resume)  # before anything is built
        cfg.resume = args.resume
    Runner.from_cfg(cfg).train()
