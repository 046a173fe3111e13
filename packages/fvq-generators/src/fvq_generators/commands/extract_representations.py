"""Make the representations of images once, for RCG: a frozen network's vector of every crop, in one folder."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import command, make_parser

from .extraction_options import add_images, run

EXAMPLE = """\
  tools/extract_representations.py moco_v3_vit_base data/imagenet/train representations --weights vit-b-300ep.pth.tar --upsample
  tools/extract_representations.py vit_small_patch16_224.dino data/photos representations --weights dino_vits16.pth
  tools/extract_representations.py test_vit bundled representations --size 64 --random          # a rehearsal: not trained
the same command again continues what was stopped. Of MoCo v3 (moco_v3_vit_small, _base, _large) a vector is the projection, 256
channels; of timm's vision transformers it is the class token, or the mean of the patches. --size is that of the crops of the
codes, 256: the network's own side is made from it. `RepresentationDiffusion` trains on the folder alone:
  train_dataloader = dict(batch_size=512, dataset=dict(type='CodesDataset', root='representations'))
and `RCG` on it with codes that tools/extract_codes.py made with the same --crops, --flip, --size, --upsample and --seed:
  dataset = dict(type='RepresentedCodes', root='data/codes/imagenet', representations='representations')"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('extract_representations.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('network', help="moco_v3_vit_small, _base or _large, or timm's name of a vision transformer")
    add_images(parser)
    add(
        '--weights',
        help="file of the network's weights, which --random does without; `pretrained`: timm's own; default none",
    )
    add('--random', action='store_true', help='random weights from a fixed seed, for rehearsals; default trained ones')
    args = parser.parse_args(argv)

    from ..extraction.representation_encoder import RepresentationEncoder

    def load() -> tuple[RepresentationEncoder, str]:
        encoder = RepresentationEncoder(args.network, args.weights, args.random)
        return encoder, encoder.net.provenance

    run(args, load, lambda encoder: (['center'], args.flip), what='network')
