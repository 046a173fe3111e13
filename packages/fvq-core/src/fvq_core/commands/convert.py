"""Import a peer's checkpoint: read its tensors, rename them, write a tokenizer folder."""

from __future__ import annotations

from collections.abc import Sequence

from .command import command, make_parser

EXAMPLE = """\
  tools/convert.py llamagen vq_ds16_c2i.pt llamagen_vq16
  tools/convert.py fvq fvq_16k.pt fvq_16k"""


@command
def main(argv: Sequence[str] | None) -> None:
    from ..interop import PEERS

    parser = make_parser('convert.py', __doc__ or '', EXAMPLE)
    parser.add_argument('peer', help=f'whose layout it is: {", ".join(PEERS)}')
    parser.add_argument('checkpoint', help='a .pt, .pth or .safetensors file; loaded without running code from it')
    parser.add_argument('out', help='folder to write: config.json, model.safetensors and a model card')
    parser.add_argument(
        '--l2-norm', action='store_true', help='the codebook is l2-normalised (LlamaGen); not in the file'
    )
    parser.add_argument(
        '--fold-label',
        type=int,
        help="the class whose codebook counts, for FVQ's class-conditional bridge; 1000 is no class",
    )
    args = parser.parse_args(argv)

    from ..interop.convert import convert_file

    tokenizer = convert_file(
        args.peer, args.checkpoint, args.out, l2_norm=True if args.l2_norm else None, fold_label=args.fold_label
    )
    quantizer = tokenizer.quantizer
    print(
        f'{args.out}: {type(tokenizer).__name__} with {quantizer.codebook().shape[0]} codes of {quantizer.code_dim} channels'
    )
