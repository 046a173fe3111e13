"""Cluster image features into a codebook by k-means, for a quantizer with frozen codes (VQGAN-LC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvq_core.commands.command import add_device, command, make_parser

EXAMPLE = """\
  tools/make_codebook.py data/imagenet/train clip_100k.safetensors --codebook-size 100000 \\
      --model vit_large_patch14_clip_224.openai --projected --pool 4        # as VQGAN-LC
  tools/make_codebook.py my_photos codes.safetensors --codebook-size 4096 --model vit_small_patch14_dinov2.lvd142m
  tools/make_codebook.py bundled mini.safetensors --codebook-size 1024 --model vit_small_patch14_dinov2.lvd142m
then, in a config:
  quantizer.update(codebook_size=100000, init=dict(type='FileInit', path='clip_100k.safetensors'),
                   projector=dict(type='LinearProjector', source_dim=768), update=dict(type='Frozen'))"""

BUNDLED = 'bundled'
BUNDLED_CROP, BUNDLED_CROPS = 224, 1000  # the training part of the smallest photo is 300 pixels high


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('make_codebook.py', __doc__ or '', EXAMPLE)
    parser.add_argument(
        'images',
        help='a folder of images, tar shards (a path, pattern or folder), or `bundled`: training parts of the bundled photos',
    )
    parser.add_argument('out', help='output .safetensors file')
    parser.add_argument('--codebook-size', type=int, required=True, help='number of codes K')
    parser.add_argument(
        '--model',
        default='vit_large_patch14_clip_224.openai',
        help='timm model that extracts the features; default: CLIP L/14',
    )
    parser.add_argument(
        '--weights',
        default='pretrained',
        help="weights of the model: 'pretrained' (downloaded), a file, or 'random'; default pretrained",
    )
    parser.add_argument(
        '--projected', action='store_true', help="apply the model's final linear projection to each patch"
    )
    parser.add_argument('--pool', type=int, default=1, help='average squares of POOL x POOL patches; default 1: do not')
    parser.add_argument(
        '--vectors-per-code', type=int, default=64, help='feature vectors to cluster per code; default 64'
    )
    parser.add_argument('--iterations', type=int, default=20, help='maximum number of k-means iterations; default 20')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed for patch sampling, k-means and random weights; default 0'
    )
    parser.add_argument('--batch-size', type=int, default=64, help='images per forward pass; default 64')
    parser.add_argument('--num-workers', type=int, default=4, help='data loader processes; default 4')
    add_device(parser)
    args = parser.parse_args(argv)

    from ..codebook_files.make_codebook import make_codebook
    from ..codebook_files.patch_features import PatchFeatures

    features = PatchFeatures(args.model, args.weights, args.projected, args.pool, args.seed)
    facts = {name: str(getattr(args, name)) for name in ('model', 'weights', 'projected', 'pool')}
    facts['dataset'] = args.images
    made = make_codebook(
        args.out,
        image_source(args.images, features.image_size),
        features,
        args.codebook_size,
        facts,
        vectors_per_code=args.vectors_per_code,
        iterations=args.iterations,
        seed=args.seed,
        device=args.device,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
    )
    print(
        f'{args.out}: {made["codebook_size"]} codes from {made["vectors"]} vectors of {made["images"]} images, '
        f'mean squared distance {float(made["inertia"]):.4g}, {made["unused"]} unused'
    )


def image_source(images: str, size: int) -> dict[str, Any]:
    """The config of a data set of `size` x `size` images, or of smaller crops of the bundled photos."""
    if images == BUNDLED:
        return dict(type='BundledPhotos', split='train', crop_size=min(size, BUNDLED_CROP), crops=BUNDLED_CROPS)
    from fvq_core.data.image_source import source_config

    return dict(source_config(images), transforms=[dict(type='ADMCenterCrop', size=size, upsample=True)])
