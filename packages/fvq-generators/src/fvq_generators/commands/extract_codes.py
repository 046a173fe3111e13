"""Encode a data set once, for a generator to train on: every crop of every image as codes or latents, in one folder."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fvq_core.commands.command import add_device, add_launcher, add_weights, command, make_parser

EXAMPLE = """\
  tools/extract_codes.py work_dirs/fvq_photos/tokenizer bundled codes/photos --size 64 --crops random 100 --flip
  tools/extract_codes.py work_dirs/fvq/tokenizer bundled:eval codes/photos_val --size 64 --crops native 50 # held out
  tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --workers 16 --upsample     # ten crops of 256
  tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --upsample --crop-range 1.1 1.05
  tools/extract_codes.py fvq_16k 'data/train-{000000..000146}.tar' codes/imagenet --workers 16
  torchrun --nproc-per-node 8 tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --upsample
the same command again continues what was stopped; then, in the generator's config:
  train_dataloader = dict(batch_size=32, dataset=dict(type='CodesDataset', root='codes/imagenet'))

crops of an image: `ten` are corners and centre of a centre crop of SIZE x RANGE pixels and the same of its mirror image,
as LlamaGen's; training then shows one of them at random each time. `center` is one, `random N` are N, each of 80 to 100 %
of the short side (--crop-range LOW HIGH: of another share), `native N` are N of SIZE pixels of the image as it is; --flip adds
their mirror images. ImageNet has images smaller than 256 pixels: --upsample enlarges them.
Of a KL autoencoder the store holds mean and log variance of each latent; training draws from them, anew each time."""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('extract_codes.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('tokenizer', help='a saved tokenizer (folder, or user/name on the hub) or an iter_N.pth')
    add(
        'data',
        help='a folder of images, tar shards (a .tar path, a pattern, a folder of them), `bundled` for ten photos, or '
        '`bundled:eval` for the right quarter of each, which `BundledPhotos` holds out by default',
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
    add(
        '--unquantized',
        action='store_true',
        help="of a tokenizer of codes, the latents that it would quantize: latent diffusion's",
    )
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
    add_weights(parser)
    add_launcher(parser)
    args = parser.parse_args(argv)

    import torch.distributed as dist
    from mmengine.dist import get_dist_info

    from fvq_core.ops.distributed import choose_device, find_launcher, join_group

    from ..extraction.extract_codes import extract_codes, load_tokenizer
    from ..extraction.images import image_source
    from ..extraction.multi_crop import parse_crops

    multi_crop = parse_crops(args.crops or ['ten'], args.size, args.flip, args.crop_range, args.upsample)
    images, tokenizer = (
        image_source(args.data, args.tar_labels, args.exif_orientation),
        load_tokenizer(args.tokenizer, args.weights),
    )
    if args.crops is None and (
        args.unquantized or tokenizer.quantizer is None
    ):  # as DiT and MAR are trained; ten would be five times the bytes
        multi_crop = parse_crops(['center'], args.size, True, args.crop_range, args.upsample)
    join_group(find_launcher(args.launcher), args.device)
    manifest = extract_codes(
        tokenizer,
        images,
        args.out,
        multi_crop,
        names=dict(tokenizer=args.tokenizer, source=args.data),
        device=choose_device(args.device),
        batch_size=args.batch_size,
        num_workers=args.workers,
        shard_size=args.shard_size,
        precision=args.precision,
        max_unreadable=args.max_unreadable,
        seed=args.seed,
        unquantized=args.unquantized,
    )
    rank = get_dist_info()[0]
    if dist.is_initialized():
        dist.destroy_process_group()
    if rank == 0:
        print(
            f'{args.out}: {manifest.images:,} images x {manifest.num_crops} crops x {manifest.contents}, as '
            f'{manifest.dtype}, of tokenizer {manifest.tokenizer_hash[:12]}'
            + (f'; {len(manifest.unreadable)} unreadable images left out' if manifest.unreadable else '')
        )
