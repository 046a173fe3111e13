"""Reconstruct images: a side-by-side picture, PSNR and SSIM of each, and its codes or latents."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.commands.command import add_device, add_json, command, give, make_parser

EXAMPLE = """\
  tools/reconstruct.py work_dirs/fvq_photos/tokenizer cat.jpg dog.png --out reconstructed
  tools/reconstruct.py before/tokenizer cat.jpg --beside after/tokenizer --out compared   # cat | before | after
  tools/reconstruct.py work_dirs/fvq_photos/tokenizer bundled:coffee --out reconstructed"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('reconstruct.py', __doc__ or '', EXAMPLE)
    parser.add_argument(
        'tokenizer', help='saved tokenizer: a folder, user/name on the hub, or fvq_photos, which comes with FVQ'
    )
    add = parser.add_argument
    add('images', nargs='+', help='image files, cropped to a multiple of the downsampling factor; or bundled:NAME')
    add('--beside', nargs='+', default=[], metavar='TOKENIZER', help='more tokenizers, shown to the right')
    parser.add_argument(
        '--out', required=True, help='output folder for pictures, codes.npz or latents.npz, and scores.json'
    )
    parser.add_argument(
        '--max-side',
        type=int,
        default=1024,
        help='downscale larger images to this longer side, in pixels; default 1024',
    )
    add_device(parser)
    add_json(parser, 'what scores.json holds')
    args = parser.parse_args(argv)

    from fvq_core.files.paths import printable

    from .reconstruct_files import reconstruct_files

    scores = reconstruct_files(args.tokenizer, args.images, args.out, args.max_side, args.device, args.beside)
    kind = ''
    for name, score in scores.items():
        numbers = f'PSNR {score["psnr"]:.2f} dB, SSIM {score["ssim"]:.3f} ({score["preset"]} conventions)'
        kind = 'codes' if 'codes' in score else 'latents'
        print(f'{printable(name)}: {numbers}, {score[kind]} {kind}')
        for other, values in score.get('beside', {}).items():
            print(f'{printable(name)}, {other}: PSNR {values["psnr"]:.2f} dB, SSIM {values["ssim"]:.3f}')
    print(f'{args.out}: pictures, {kind}.npz, scores.json')
    give(scores)
