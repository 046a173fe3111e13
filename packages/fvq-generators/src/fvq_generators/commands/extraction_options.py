"""What the commands share that make a store from images: their options, and the run itself."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from fvq_core.commands.command import add_device, add_launcher

if TYPE_CHECKING:
    from fvq_core.autoencoder import Autoencoder


def add_images(parser: ArgumentParser) -> None:
    """Which images, which crops of them, where to, and on what."""
    add = parser.add_argument
    add(
        'data',
        help='a folder of images, tar shards (a .tar path, a pattern, a folder of them), `bundled` for ten photos, or '
        '`bundled:eval` for the right quarter of each, which `BundledPhotos` holds out by default; `bundled:2` and '
        '`bundled:eval:2` if that is the third quarter, as in configs/fvq/fvq_photos.py',
    )
    add('out', help='folder to write; an interrupted extraction there is continued')
    add(
        '--crops',
        nargs='+',
        metavar='KIND',
        help='ten, center, random N or native N; default ten, of a continuous autoencoder center with --flip',
    )
    add('--flip', action='store_true', help='mirror images too; the ten crops have theirs already')
    add(
        '--crop-range',
        type=float,
        nargs='+',
        metavar='R',
        help='of the ten crops, several are mixed, default 1.1; of random ones the shares',
    )
    add('--size', type=int, default=256, help='side of a crop in pixels; default 256')
    add('--upsample', action='store_true', help='enlarge images smaller than the crop; else an error')
    add('--batch-size', type=int, default=64, help='crops encoded at once; default 64')
    add(
        '--workers',
        type=int,
        default=min(4, os.cpu_count() or 1),
        help='processes that read and crop images; default 4, on a small machine as many as it has cores',
    )
    add('--precision', choices=('float32', 'bfloat16'), default='float32', help='of the encoder; default float32')
    add(
        '--tar-labels',
        choices=('cls', 'shard'),
        default='cls',
        help="a tar's labels: .cls members (default), or one tar a class",
    )
    add(
        '--exif-orientation',
        choices=('apply', 'ignore'),
        default='apply',
        help="turn photos upright as their EXIF tag says, or ignore it as LlamaGen's extraction does; default apply",
    )
    add('--max-unreadable', type=float, default=0.1, help='largest share to leave out; default 0.1')
    add('--shard-size', type=int, help='images a shard: what a killed process loses; default by itself')
    add('--seed', type=int, default=0, help='of random crops; default 0')
    add_device(parser)
    add_launcher(parser)


def run(
    args: Namespace,
    load: Callable[[], tuple[Autoencoder, str]],
    default_crops: Callable[[Autoencoder], tuple[list[str], bool]],
    unquantized: bool = False,
    what: str = 'tokenizer',
) -> None:
    """Make or continue the store, and say what it holds.

    Args:
        args: Of the options above.
        load: Gives what encodes and it in words, once the arguments are known to be right.
        default_crops: The crops without --crops, and whether mirrored ones are added.
        unquantized: See `extract_codes`.
        what: What the encoder is called in the last line.
    """
    import torch.distributed as dist
    from mmengine.dist import get_dist_info

    from fvq_core.ops.distributed import choose_device, find_launcher, join_group

    from ..extraction.extract_codes import extract_codes
    from ..extraction.images import image_source
    from ..extraction.multi_crop import parse_crops

    options = args.size, args.flip, args.crop_range, args.upsample
    multi_crop = parse_crops(args.crops or ['ten'], *options)
    images, (encoder, name) = image_source(args.data, args.tar_labels, args.exif_orientation), load()
    if args.crops is None:
        crops, flip = default_crops(encoder)
        multi_crop = parse_crops(crops, args.size, flip, args.crop_range, args.upsample)
    join_group(find_launcher(args.launcher), args.device)
    manifest = extract_codes(
        encoder,
        images,
        args.out,
        multi_crop,
        names=dict(tokenizer=name, source=args.data),
        device=choose_device(args.device),
        batch_size=args.batch_size,
        num_workers=args.workers,
        shard_size=args.shard_size,
        precision=args.precision,
        max_unreadable=args.max_unreadable,
        seed=args.seed,
        unquantized=unquantized,
    )
    rank = get_dist_info()[0]
    if dist.is_initialized():
        dist.destroy_process_group()
    if rank == 0:
        print(
            f'{args.out}: {manifest.images:,} images x {manifest.num_crops} crops x {manifest.contents}, as '
            f'{manifest.dtype}, of {what} {manifest.tokenizer_hash[:12]}'
            + (f'; {len(manifest.unreadable)} unreadable images left out' if manifest.unreadable else '')
        )
