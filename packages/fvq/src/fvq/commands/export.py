"""Export a tokenizer to an FVQ folder (the default), diffusers, torch.export or ONNX.

SOURCE is a training checkpoint, which is folded first (same codes, same pixels, no projector, no training state), or a saved
tokenizer: a folder or user/name on the Hugging Face hub. Every format but FVQ's own is read back and compared with FVQ on 60
crops of the bundled photos before it is written to its place: at most 0.1 % of the codes may differ, all of them near-ties, and
pixels decoded from the same codes by at most 1e-4; with --half at most 1 % of the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvq_core.commands.command import add_json, add_weights, command, give, make_parser

FORMATS = ('fvq', 'diffusers', 'torch', 'onnx')
EXAMPLE = """\
  tools/export.py work_dirs/fvq_photos/iter_1600.pth my_tokenizer
  tools/export.py my_tokenizer out --format onnx          # encode.onnx, decode.onnx
  tools/export.py my_tokenizer out --format onnx --half   # in float16; prints the share of codes that differ
  tools/export.py my_tokenizer out --format torch         # encode.pt2, decode.pt2
  tools/export.py my_tokenizer out --format diffusers     # for VQModel or AutoencoderKL
  python -c "from fvq_core.tokenizer import Tokenizer; print(Tokenizer.from_pretrained('my_tokenizer'))\""""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('export.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('source', help='an iter_N.pth (which contains its config), a tokenizer folder, or user/name on the hub')
    add('out', help='output folder')
    add(
        '--format', choices=FORMATS, default='fvq', help='output format; default fvq: config.json and model.safetensors'
    )
    add('--half', action='store_true', help='torch, onnx: compute in float16; the codebook and its search stay float32')
    add(
        '--size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='torch, onnx: fix the image size to this side, or height and width; default: any that the network takes',
    )
    add('--allow', action='store_true', help='write the export even if codes or pixels differ more than that')
    add('--fold-label', type=int, help='class-conditional bridge: class whose codebook to keep')
    add('--config', help='config file that registers parts of the model, if no installed plug-in does')
    add_weights(parser)
    add_json(parser, 'out, format, and the result of the comparison')
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
