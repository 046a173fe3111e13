"""Train a config and log to experiment trackers, like `fvq train CONFIG --track NAME`; default: TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import command
from fvq_core.commands.train import read_config, train, train_parser

EXAMPLE = """\
  fvq track configs/fvq/fvq_photos.py                              # to TensorBoard
  fvq track configs/fvq/fvq_photos.py --track tensorboard wandb    # W&B logs offline; `wandb sync` uploads"""


@command
def main(argv: Sequence[str] | None) -> None:
    args = train_parser('track.py', __doc__ or '', EXAMPLE).parse_args(argv)
    cfg = read_config(args)

    from ..tracking.track_config import add_trackers

    add_trackers(cfg, args.track or ['tensorboard'])
    train(cfg, args)
