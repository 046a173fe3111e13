"""Take photos for tuning out of the training photos: `python -m fvq_eval.benchmark.tune_split PHOTOS 100`.

Moves those of `PHOTOS/train` whose file names have the smallest SHA-256 to `PHOTOS/tune`, with the folders they are in."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fvq_core.commands.command import command, make_parser
from fvq_core.data.folder_listing import list_folder
from fvq_core.errors import UserError

from .photo_data import TUNE


def tune_names(names: list[str], count: int) -> list[str]:
    """The `count` paths whose file names have the smallest SHA-256; of equal file names, the first path.

    Raises:
        UserError: `count` is not below the number of paths, or not above 0.
    """
    if not 0 < count < len(names):
        raise UserError(f'tune_split: expected 1 to {len(names) - 1} photos of {len(names)}, got {count}.')
    return sorted(names, key=lambda name: (hashlib.sha256(PurePosixPath(name).name.encode()).hexdigest(), name))[:count]


def split(photos: Path, count: int) -> list[str]:
    """Move them; those of an earlier call count.

    Returns:
        The paths below `tune/`.

    Raises:
        UserError: There are no training photos, or `tune/` holds others than this call would choose.
    """
    train, tune = photos / 'train', photos / TUNE
    if not train.is_dir():
        raise UserError(f'tune_split: {train} is not a folder; put the training photos there.')
    there = [name for name, _ in list_folder(str(tune)).images] if tune.is_dir() else []
    chosen = tune_names([name for name, _ in list_folder(str(train)).images] + there, count)
    if not set(there) <= set(chosen):
        raise UserError(f'tune_split: {tune} holds photos that are not the {count} chosen ones; move them back first.')
    for name in set(chosen) - set(there):
        (tune / name).parent.mkdir(parents=True, exist_ok=True)
        (train / name).rename(tune / name)
    return chosen


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('tune_split', __doc__ or '', '  python -m fvq_eval.benchmark.tune_split PHOTOS 100')
    parser.add_argument('photos', type=Path, help='a folder with train/')
    parser.add_argument('count', type=int, help='photos for tuning')
    args = parser.parse_args(argv)
    print(f'{len(split(args.photos, args.count))} photos in {args.photos / TUNE}')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
