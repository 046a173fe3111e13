"""Precompute image representations for RCG: the vector of a frozen network for every crop, in one folder."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import command, make_parser

from .extraction_options import add_images, run

EXAMPLE = """\
  tools/extract_representations.py moco_v3_vit_base data/imagenet/train representations --weights vit-b-300ep.pth.tar --upsample
  tools/extract_representations.py vit_small_patch16_224.dino data/photos representations --weights dino_vits16.pth
  tools/extract_representations.py test_vit bundled representations --size 64 --random          # untrained, to try it out
Run the same command again to continue an interrupted extraction. For MoCo v3 (moco_v3_vit_small, _base, _large) a vector is the
256-channel projection; for timm's vision transformers it is the class token or the mean of the patches. --size is the crop size
of the codes, 256; crops are resized to the network's input. `RepresentationDiffusion` trains on this folder only:
  train_dataloader = dict(batch_size=512, dataset=dict(type='CodesDataset', root='representations'))
`RCG` also needs codes from tools/extract_codes.py with the same --crops, --flip, --size, --upsample and --seed:
  dataset = dict(type='RepresentedCodes', root='data/codes/imagenet', representations='representations')"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('extract_representations.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('network', help='moco_v3_vit_small, _base or _large, or the timm name of a vision transformer')
    add_images(parser)
    add(
        '--weights',
        help="file with the network's weights, or `pretrained` for timm's; required without --random",
    )
    add(
        '--random',
        action='store_true',
        help='use random weights from a fixed seed, to try the pipeline; default: trained weights',
    )
    args = parser.parse_args(argv)

    from ..extraction.representation_encoder import RepresentationEncoder

    def load() -> tuple[RepresentationEncoder, str]:
        encoder = RepresentationEncoder(args.network, args.weights, args.random)
        return encoder, encoder.net.provenance

    run(args, load, lambda encoder: (['center'], args.flip), what='network')
