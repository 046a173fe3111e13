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
        help='a folder of images, tar shards (a .tar path, a pattern or a folder), `bundled` for the training parts of the ten '
        'photos, or `bundled:eval` for the right quarter of each, which `BundledPhotos` holds out by default; `bundled:2` and '
        '`bundled:eval:2` hold out the third quarter instead, as configs/fvq/fvq_photos.py does',
    )
    add('out', help='output folder; continues an interrupted extraction there')
    add(
        '--crops',
        nargs='+',
        metavar='KIND',
        help='ten, center, random N or native N, see below; default ten, for latents center with --flip',
    )
    add('--flip', action='store_true', help='add mirror images; `ten` already has them')
    add(
        '--crop-range',
        type=float,
        nargs='+',
        metavar='R',
        help='ten: size of the centre crop over SIZE, default 1.1, several are mixed; random: lowest and highest share',
    )
    add('--size', type=int, default=256, help='crop size in pixels; default 256')
    add('--upsample', action='store_true', help='enlarge images smaller than the crop; default: an error')
    add('--batch-size', type=int, default=64, help='crops per forward pass; default 64')
    add(
        '--workers',
        type=int,
        default=min(4, os.cpu_count() or 1),
        help='data loader processes; default 4, or the number of cores if smaller',
    )
    add(
        '--precision',
        choices=('float32', 'bfloat16'),
        default='float32',
        help='precision of the encoder; default float32',
    )
    add(
        '--tar-labels',
        choices=('cls', 'shard'),
        default='cls',
        help='labels of tar shards: cls reads .cls members, shard makes each tar a class; default cls',
    )
    add(
        '--exif-orientation',
        choices=('apply', 'ignore'),
        default='apply',
        help="rotate photos by their EXIF tag, or ignore it as LlamaGen's extraction does; default apply",
    )
    add(
        '--max-unreadable',
        type=float,
        default=0.1,
        help='skip unreadable images up to this share, in [0, 1]; default 0.1',
    )
    add(
        '--shard-size',
        type=int,
        help='images per shard, the most that a killed process loses; default: 16 to 1024, by data set size',
    )
    add('--seed', type=int, default=0, help='seed of random crops; default 0')
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
