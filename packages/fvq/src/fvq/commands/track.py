"""Train a config with experiment trackers: what `fvq train CONFIG --track NAME` does."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import command
from fvq_core.commands.train import read_config, train, train_parser


@command
def main(argv: Sequence[str] | None) -> None:
    args = train_parser().parse_args(argv)
    cfg = read_config(args)

    from ..tracking.track_config import add_trackers

    add_trackers(cfg, args.track or ['tensorboard'])
    train(cfg, args)
