"""Encode a data set once, for a generator to train on: every crop of every image as codes or latents, in one folder."""

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
    add_images(parser)
    add(
        '--unquantized',
        action='store_true',
        help="of a tokenizer of codes, the latents that it would quantize: latent diffusion's",
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
