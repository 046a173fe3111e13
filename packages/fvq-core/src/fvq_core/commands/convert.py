"""Import another project's checkpoint: read its tensors, rename them, write an FVQ folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .command import add_weights, command, make_parser

EXAMPLE = """\
  tools/convert.py llamagen vq_ds16_c2i.pt llamagen_vq16
  tools/convert.py fvq fvq_16k.pt fvq_16k
  tools/convert.py var vae_ch160v4096z32.pth var
  tools/convert.py fvq fvq_rqvae.pt fvq_rqvae --depth 4
  tools/convert.py llamagen-gpt c2i_XL_384.pt llamagen_xl --grid 24 24   # a generator"""


@command
def main(argv: Sequence[str] | None) -> None:
    from ..registry import IMPORTERS

    parser = make_parser('convert.py', __doc__ or '', EXAMPLE)
    parser.add_argument('peer', help=f'whose layout it is: {", ".join(IMPORTERS.names())}')
    parser.add_argument(
        'checkpoint',
        help='a file of weights or of training (.pt, .pth, .ckpt, .bin, .safetensors); no code from it is run',
    )
    parser.add_argument('out', help='folder to write: config.json, model.safetensors and a model card')
    parser.add_argument(
        '--l2-norm',
        action=argparse.BooleanOptionalAction,
        help='whether codes and latents are l2-normalized; by default as in that project (LlamaGen does)',
    )
    parser.add_argument(
        '--fold-label',
        type=int,
        help="the class whose codebook counts, for FVQ's class-conditional bridge; 1000 is the null class",
    )
    parser.add_argument('--depth', type=int, help="codes per position in FVQ's residual variant, 4 as released")
    parser.add_argument(
        '--scales',
        type=int,
        nargs='+',
        help='sizes of the scales of a multi-scale tokenizer (VAR), if not 1 2 3 4 5 6 8 10 13 16',
    )
    parser.add_argument(
        '--phi-ratio', type=float, help='size of quant_resi of a multi-scale tokenizer (VAR), 0.5 as released'
    )
    parser.add_argument(
        '--space-to-depth',
        type=int,
        nargs=2,
        help='rows and columns of the latent that one code of RQ-VAE covers, if they are not square',
    )
    parser.add_argument(
        '--heads',
        type=int,
        help="attention heads of a generator, if not those of its published size, or of FVQ's bridge, if not 4",
    )
    parser.add_argument('--grid', type=int, nargs=2, help="rows and columns of a generator's codes, if not 16 16")
    add_weights(parser)
    options = vars(parser.parse_args(argv))
    peer, checkpoint, out, choice = (options.pop(name) for name in ('peer', 'checkpoint', 'out', 'weights'))

    from ..interop.convert import convert_file, find_importer
    from ..saving.read_folder import read_config

    model = convert_file(peer, checkpoint, out, choice, **options)
    importer = find_importer(peer, {})
    print(f'{out}: {importer.summary(model)}, from {read_config(out, importer.kind)["weights"]}')
