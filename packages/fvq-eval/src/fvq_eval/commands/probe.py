"""Train a linear classifier on the latents and on the codes of a tokenizer: how much of an image's class they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvq_core.commands.command import add_device, add_json, command, give, make_parser
from fvq_core.errors import UserError

from .options import check_least, prepare_output

EXAMPLE = """\
  tools/probe.py work_dirs/fvq_photos/tokenizer bundled --crop 64                  # a photo is a class; a fifth is held out
  tools/probe.py fvq_16k data/imagenet/train --test data/imagenet/val --crop 256
  tools/probe.py fvq_16k data/imagenet/train --test data/imagenet/val --crop 256 --grid 4 --out probe.json"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('probe.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('tokenizer', help='a folder that training or tools/export.py wrote')
    add('images', help='training images: class folders, an npz with labels, a tar or a zip; bundled for the photos')
    add('--test', metavar='IMAGES', help='what is scored; default: images of the first set at random, see --held-out')
    add('--held-out', type=float, default=0.2, metavar='SHARE', help='of the first set; default %(default)s')
    add(
        '--crop',
        type=int,
        metavar='N',
        help='square in the middle of each file, as ADM crops; default: files as they are',
    )
    add('--grid', type=int, default=1, metavar='N', help='features are means over N x N parts; default 1, one mean')
    add('--batch-size', type=int, default=32, metavar='N', help='default %(default)s')
    add('--seed', type=int, default=0, help='of what is held out; default %(default)s')
    add('--out', help='write the numbers to this JSON file too')
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
