"""Sample images from a generator: a grid, and an npz or a folder of images for evaluation."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from fvq_core.commands.command import add_device, add_launcher, add_weights, command, make_parser
from fvq_core.sampling_settings import SamplingSettings

from .setting_options import add_settings

EXAMPLE = """\
  tools/sample.py work_dirs/llamagen_photos/generator work_dirs/codes_photos/tokenizer --num 80 --cfg 2 --out samples
  tools/sample.py fvq_l fvq_16k --classes 207 360 --num 16 --cfg 4 --out dogs_and_otters
  tools/sample.py fvq_l fvq_16k --classes random --num 50000 --cfg 1.75 --npz --out fvq_l_samples    # table 2's
  torchrun --nproc-per-node 8 -- tools/sample.py fvq_l fvq_16k --classes random --num 50000 --npz --out fvq_l_samples
  tools/sample.py GENERATOR TOKENIZER --classes 207 --num 8 --from dog.jpg --keep border --out other_dogs  # in-painting
  tools/sample.py llamagen_xl_t2i vq16 --captions t5_features --num 32 --cfg 7.5 --out from_text
  tools/evaluate.py fvq_l_samples/samples.npz --reference VIRTUAL_imagenet256_labeled.npz --preset adm
With torchrun, write `--` before tools/sample.py; otherwise torchrun takes --num as its own option.

Run the same command again to continue an interrupted call; a larger --num adds samples. The random numbers of an image depend
only on --seed and the number of the image, so on the same kind of machine any number of processes samples the same images.
Another --batch-size may change the rounding: a grey level here and there; in bfloat16 or on a GPU it can also flip a close draw
between two codes, and with it the rest of that image.

grid.png has one row per class (at most ten classes, spread over those sampled) with up to eight samples; with fewer than two
samples per class, it shows samples spread over all of them, ordered by class.

Settings depend on the generator: `tools/sample.py GENERATOR --help` lists those of a saved generator, `tools/sample.py LlamaGen
--help` those of any LlamaGen."""


def sample_parser() -> ArgumentParser:
    """The command's options without those of a generator."""
    parser = make_parser('sample.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add('generator', help='saved generator (a folder, or user/name on the hub) or an iter_N.pth')
    add('tokenizer', nargs='?', help='saved tokenizer; not needed if the generator was saved with one')
    add('--out', required=True, help='output folder for grid.png and samples; continues an interrupted call there')
    add('--num', type=int, default=64, help='total number of images; default 64')
    add(
        '--classes',
        nargs='+',
        default=['all'],
        metavar='C',
        help='class (or caption) numbers to cycle through, `all`, or `random`; default all',
    )
    add(
        '--captions',
        metavar='FOLDER',
        help='text-to-image generator: .npy files of caption features; --classes selects them by position, with numbers '
        'first (2.npy before 10.npy), then the other names in order',
    )
    add(
        '--from',
        dest='pictures',
        nargs='+',
        metavar='IMAGE',
        help='images to keep a part of (in-painting), in turn; see --keep',
    )
    add(
        '--keep',
        metavar='PART',
        help='part of --from to keep: top, bottom, left, right, center, border; a mask image, white where to keep, in the '
        'size of --from or of the samples; or scales:N, the first N scales of a VAR',
    )
    add(
        '--order-file',
        metavar='FILE',
        help='any-order generators (RandAR): text file of decoding orders, used instead of --order; one order per line, as '
        'positions from 0 in raster order; images take the lines in turn',
    )
    add('--seed', type=int, default=0, help='random seed of classes and images; default 0')
    add('--npz', action='store_true', help="write samples.npz in the format of ADM's evaluator")
    add('--images', action='store_true', help='write each sample to images/NUMBER_CLASS.png')
    add('--batch-size', type=int, default=32, help='images per batch; default 32, for the first 256 images 16')
    add('--compile', action='store_true', help='compile the decoding steps; on a GPU with CUDA graphs')
    add(
        '--precision',
        choices=('float32', 'bfloat16'),
        default='float32',
        help="precision of the generator's weights; default float32",
    )
    add_device(parser)
    add_weights(parser)
    add_launcher(parser)
    return parser


@command
def main(argv: Sequence[str] | None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = sample_parser()
    add_settings(parser, known_settings(argv))
    args = parser.parse_args(argv)

    import torch.distributed as dist
    from mmengine.dist import get_dist_info

    from fvq_core.errors import UserError
    from fvq_core.ops.distributed import choose_device, find_launcher, join_group
    from fvq_core.progress import Progress

    from ..image_generator import ImageGenerator
    from ..image_sets import (
        SHARD_IMAGES,
        CaptionFolder,
        GivenImages,
        GivenOrders,
        SampleOutputs,
        SamplePlan,
        SampleShards,
        check_request,
        draw_samples,
        parse_classes,
    )

    model = ImageGenerator.load(args.generator, args.tokenizer, precision=args.precision, weights=args.weights)
    Sampling = model.generator.Sampling
    parser = sample_parser()  # again: a checkpoint or a repository tells only now which settings its generator has
    add_settings(parser, {type(model.generator).__name__: Sampling})
    args = parser.parse_args(argv)
    settings = model.settings(**{each.name: getattr(args, each.name) for each in fields(Sampling)}).to_dict()
    facts = {**settings, **model.identity(), 'precision': args.precision}
    captions, shape = None, model.generator.caption_shape
    if shape is not None:
        if args.captions is None:
            raise UserError('this generator draws from captions; name a folder of their features with --captions.')
        captions = CaptionFolder(args.captions, *shape)
        facts['captions'] = captions.digest()
    elif args.captions is not None:
        raise UserError('--captions: this generator has classes; leave it out.')
    classes, draw_classes = parse_classes(args.classes, model.num_classes if captions is None else len(captions))
    given: list[GivenImages | GivenOrders] = []
    if (args.pictures is None) != (args.keep is None):
        raise UserError('--from names pictures and --keep the part of them that is kept; give both, or neither.')
    if args.pictures is not None:
        given.append(GivenImages(model, args.pictures, args.keep))
        facts['given'] = given[-1].digest()
    if args.order_file is not None:
        given.append(GivenOrders(model.generator, args.order_file))
        facts['order_file'] = given[-1].digest()
    plan = SamplePlan(args.num, classes, draw_classes, args.seed, facts, max(SHARD_IMAGES, args.batch_size))
    options = {**settings, **({'compile': True} if args.compile else {})}
    check_request(model.generator, options, args.batch_size)
    join_group(find_launcher(args.launcher), args.device)
    model.to(choose_device(args.device))
    rank, world_size = get_dist_info()
    shards = SampleShards(Path(args.out) / 'shards', plan)
    try:
        missing, own = shards.open_together()
        total = sum(len(shards.plan.shard(number)) for number in own)
        with Progress('sampling', total, rank, world_size, print) as progress:
            draw_samples(model, shards, own, options, args.batch_size, progress.advance, captions, given)
        if dist.is_initialized():
            dist.destroy_process_group()
        if rank == 0:
            shards.wait(missing)
            for each in given:
                if isinstance(each, GivenImages):
                    each.picture.save(Path(args.out) / 'given.png')
            for line in SampleOutputs(Path(args.out), shards).write(npz=args.npz, images=args.images):
                print(line)
    finally:
        shards.close()


def known_settings(argv: Sequence[str]) -> dict[str, type[SamplingSettings]]:
    """The settings, by its name, of the generator that a command line names: a saved one, or a registered class.

    Of every registered generator if it is neither, such as a checkpoint, and none if no generator is named.
    """
    named = [argument for argument in argv if not argument.startswith('-')]
    if not named:
        return {}
    from fvq_core.files.json import read_json
    from fvq_core.registry import GENERATORS
    from fvq_core.saving.kind import CONFIG_NAME

    every = {name: generator.Sampling for name, generator in sorted(GENERATORS.known().items())}
    for argument in named:
        described = (read_json(Path(argument) / CONFIG_NAME) or {}).get('generator')
        name = described.get('type') if isinstance(described, dict) else None
        if name in every:
            return {name: every[name]}
    return {argv[0]: every[argv[0]]} if argv[0] in every else every
