"""Linear probe: how well a linear classifier predicts the class from a tokenizer's latents and from its codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvq_core.commands.command import add_device, add_json, command, give, make_parser
from fvq_core.errors import UserError

from .options import check_least, prepare_output

EXAMPLE = """\
  tools/probe.py work_dirs/fvq_photos/tokenizer bundled --crop 64                  # each photo is a class; a fifth is held out
  tools/probe.py fvq_16k data/imagenet/train --test data/imagenet/val --crop 256
  tools/probe.py fvq_16k data/imagenet/train --test data/imagenet/val --crop 256 --grid 4 --out probe.json"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('probe.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('tokenizer', help='saved tokenizer: a folder, user/name on the hub, or fvq_photos, which comes with FVQ')
    add('images', help='training images: class folders, an npz with labels, a tar, a zip, or bundled (the photos)')
    add(
        '--test',
        metavar='IMAGES',
        help='test images, same formats; default: a random part of the training images, see --held-out',
    )
    add(
        '--held-out',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='share of the training images held out for testing; default %(default)s',
    )
    add(
        '--crop',
        type=int,
        metavar='N',
        help='centre crop to N x N pixels, as in ADM; default: images as they are',
    )
    add('--grid', type=int, default=1, metavar='N', help='average-pool features to N x N; default 1, global average')
    add('--batch-size', type=int, default=32, metavar='N', help='images per batch; default %(default)s')
    add('--seed', type=int, default=0, help='seed of the held-out images; default %(default)s')
    add('--out', help='also write the results to this JSON file')
    add_device(parser)
    add_json(parser, 'what --out writes')
    args = parser.parse_args(argv)
    for option, least in (('crop', 1), ('grid', 1), ('batch_size', 1)):
        check_least(f'--{option.replace("_", "-")}', getattr(args, option), least)
    if not 0 < args.held_out < 1:
        raise UserError(f'--held-out: expected a share between 0 and 1, got {args.held_out:g}.')
    prepare_output('--out', args.out)

    from fvq_core.autoencoder import Autoencoder
    from fvq_core.files.json import write_json
    from fvq_core.ops.distributed import choose_device

    from ..analysis.linear_probe import probe, probe_set, split
    from ..samples.open_samples import open_samples
    from .test import print_results

    crop = None if args.crop is None else dict(type='ADMCenterCrop', size=args.crop, upsample=True)
    autoencoder = Autoencoder.from_pretrained(args.tokenizer).to(choose_device(args.device)).eval()
    sets = [
        probe_set(autoencoder, open_samples(path, convert=True, crop=crop), args.grid, args.batch_size)
        for path in (args.images, args.test)
        if path is not None
    ]
    train, test = sets if len(sets) == 2 else split(sets[0], args.held_out, args.seed)
    values = probe(train, test, args.grid, args.seed)
    print_results(values)
    document = {
        'tokenizer': args.tokenizer,
        'images': args.images,
        'test': args.test,
        'crop': args.crop,
        'metrics': {name: {**value.to_dict(), 'weights': args.tokenizer} for name, value in values.items()},
    }
    if args.out:
        write_json(Path(args.out), document)
    give(document)
