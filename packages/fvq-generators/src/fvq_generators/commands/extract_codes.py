"""Precompute the codes or latents of a data set for generator training: every crop of every image, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fvq_core.commands.command import add_weights, command, make_parser

from .extraction_options import add_images, run

if TYPE_CHECKING:
    from fvq_core.autoencoder import Autoencoder

EXAMPLE = """\
  tools/extract_codes.py work_dirs/fvq_photos/tokenizer bundled codes/photos --size 64 --crops random 100 --flip
  tools/extract_codes.py work_dirs/fvq/tokenizer bundled:eval codes/photos_val --size 64 --crops native 50 # held out
  tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --workers 16 --upsample     # ten crops of 256
  tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --upsample --crop-range 1.1 1.05
  tools/extract_codes.py fvq_16k 'data/train-{000000..000146}.tar' codes/imagenet --workers 16
  torchrun --nproc-per-node 8 tools/extract_codes.py fvq_16k data/imagenet/train codes/imagenet --upsample
Run the same command again: it continues an interrupted extraction. Then, in the generator's config:
  train_dataloader = dict(batch_size=32, dataset=dict(type='CodesDataset', root='codes/imagenet'))

Crops of an image:
  ten        corners and centre of a centre crop of SIZE x RANGE pixels, and their mirror images, as LlamaGen; each time,
             training draws one of them at random
  center     one centre crop
  random N   N random crops, each of 80 to 100 % of the short side (--crop-range LOW HIGH for another share)
  native N   N random crops of SIZE pixels, without resizing
--flip adds mirror images to the last three. ImageNet has images smaller than 256 pixels; --upsample enlarges them.
For a KL autoencoder the store holds the mean and log variance of each latent; training samples from them each time."""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('extract_codes.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('tokenizer', help='saved tokenizer (a folder, or user/name on the hub) or an iter_N.pth')
    add_images(parser)
    add(
        '--unquantized',
        action='store_true',
        help='store the latents before quantization instead of codes, as latent diffusion does',
    )
    add_weights(parser)
    args = parser.parse_args(argv)

    from ..extraction.extract_codes import load_tokenizer

    def default_crops(tokenizer: Autoencoder) -> tuple[list[str], bool]:
        latents = args.unquantized or tokenizer.quantizer is None
        return (
            (['center'], True) if latents else (['ten'], args.flip)
        )  # as DiT and MAR; ten would be five times the bytes

    def load() -> tuple[Autoencoder, str]:
        return load_tokenizer(args.tokenizer, args.weights), args.tokenizer

    run(args, load, default_crops, args.unquantized)
