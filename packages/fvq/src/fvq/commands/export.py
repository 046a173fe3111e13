"""Write a tokenizer for others: FVQ's own folder (the default), diffusers', programs of torch.export, or ONNX.

SOURCE is a checkpoint of a run, which is folded first (same codes, same pixels, no projector, no training state), or a
tokenizer: a folder or user/name on the Hugging Face hub. Every format but FVQ's own is read back and compared with FVQ on 60
crops of the bundled photos before it takes its place: at most 0.1 % of the codes may differ, each by a near-tie, and pixels of
the same codes by 1e-4; with --half at most 1 % of the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvq_core.commands.command import add_json, add_weights, command, give, make_parser

FORMATS = ('fvq', 'diffusers', 'torch', 'onnx')
EXAMPLE = """\
  tools/export.py work_dirs/fvq_photos/iter_1600.pth my_tokenizer
  tools/export.py my_tokenizer out --format onnx          # encode.onnx, decode.onnx
  tools/export.py my_tokenizer out --format onnx --half   # in float16, the share of different codes printed
  tools/export.py my_tokenizer out --format torch         # encode.pt2, decode.pt2
  tools/export.py my_tokenizer out --format diffusers     # for VQModel or AutoencoderKL
  python -c "from fvq_core.tokenizer import Tokenizer; print(Tokenizer.from_pretrained('my_tokenizer'))\""""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('export.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('source', help='an iter_N.pth, which carries its config as data; a tokenizer folder; or user/name on the hub')
    add('out', help='folder to write')
    add('--format', choices=FORMATS, default='fvq', help='default: fvq, that is config.json and model.safetensors')
    add('--half', action='store_true', help='torch, onnx: compute in float16; the codebook and its search stay float32')
    add(
        '--size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='torch, onnx: images of this side, or height and width, only',
    )
    add('--allow', action='store_true', help='write it although codes or pixels differ more than they may')
    add('--fold-label', type=int, help='the class whose codebook is kept, for a class-conditional bridge')
    add('--config', help='of a checkpoint whose config registers parts of the model that no installed plug-in does')
    add_weights(parser)
    add_json(parser, 'out, format, and what the comparison found')
    args = parser.parse_args(argv)

    from fvq_core.errors import UserError

    from ..exports.source import read_source

    graphs = args.format in ('torch', 'onnx')
    if (args.half or args.size) and not graphs:
        raise UserError(f'--half and --size are for --format torch and onnx, not {args.format}; drop them.')
    if args.size and (len(args.size) > 2 or min(args.size) < 1):
        raise UserError(f'--size takes a side, or height and width, in pixels, got {" ".join(map(str, args.size))}.')
    autoencoder, name, facts = read_source(args.source, args.fold_label, args.config, args.weights)
    if args.format == 'fvq':
        autoencoder.save_pretrained(args.out, facts)
        print(f'{args.out}: folded tokenizer of {name}')
        give({'out': args.out, 'format': args.format})
        return

    from ..exports import formats

    if args.format == 'diffusers':
        found = formats.export_diffusers(autoencoder, Path(args.out), args.allow)
    else:
        size = (args.size[0], args.size[-1]) if args.size else None
        found = formats.export_graphs(autoencoder, Path(args.out), args.format, size, args.half, args.allow)
    print(f'{args.out}: {args.format} export of {name}')
    print(found.sentence())
    give({'out': args.out, 'format': args.format, 'compared': found.facts()})
