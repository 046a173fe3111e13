"""Evaluate a set of images against a reference: FID, IS and other metrics of any generator, from its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.commands.command import add_device, add_json, add_launcher, command, give, make_parser
from fvq_core.stamp import image_count

from .options import add_extractor, check_least, extractor_config, in_json, prepare_output
from .tokbench import add_tokbench, score_tokbench

EXAMPLE = """\
  tools/evaluate.py samples.npz --reference VIRTUAL_imagenet256_labeled.npz        # ADM's protocol, as for published FIDs
  tools/evaluate.py samples/ --reference VIRTUAL_imagenet256_labeled.npz --row t11.31 --out work_dirs/fvq_l/metrics.json
  tools/evaluate.py biggan_deep_trunc1_imagenet256.npz --row t11.1 --reference VIRTUAL_imagenet256_labeled.npz
  tools/evaluate.py 'shards/{00..07}.tar' --reference val/ --preset strict --crop 256 --classes
  tools/evaluate.py val/ --crop 256 --save-stats val256.npz                        # statistics, for use as a reference
  torchrun --nproc-per-node 8 tools/evaluate.py samples.npz --reference val256.npz
  tools/evaluate.py reconstructions/ --text text_ic13.json --recognizer parseq.pt --characters french.txt  # TokBench
  tools/evaluate.py reconstructions/ --faces face_meta.json --originals wflw/ --face-network glintr100.pt"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('evaluate.py', __doc__ or '', EXAMPLE)
    parser.add_argument(
        'samples', help='images to score: a folder, an npz with arr_0 (uint8, N x H x W x 3), a tar or a zip'
    )
    parser.add_argument(
        '--reference',
        help='reference images: the same formats, an npz of statistics, or `bundled` (1,000 crops of the bundled photos, of '
        'size --crop); default: none, only metrics that need no reference',
    )
    parser.add_argument(
        '--preset', help='evaluation protocol, see docs/evaluation.md; default: that of --row, else adm'
    )
    add_extractor(parser, "the preset's")
    parser.add_argument(
        '--metrics', nargs='+', metavar='NAME', help="metrics to compute, such as fid precision; default: the preset's"
    )
    parser.add_argument('--classes', action='store_true', help='also report metrics per class')
    parser.add_argument(
        '--save-stats', metavar='FILE', help="write the samples' statistics to this npz, for use as --reference"
    )
    parser.add_argument(
        '--crop',
        type=int,
        metavar='SIZE',
        help="crop image files to SIZE x SIZE pixels with the preset's crop; default: as they are",
    )
    parser.add_argument(
        '--images',
        type=int,
        metavar='N',
        help="images a complete set has; fewer are marked partial; default: the preset's, 50000",
    )
    parser.add_argument(
        '--convert-rgb', action='store_true', help='convert greyscale, palette and CMYK files to RGB; default: an error'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=64,
        help='images per batch, per process; does not change the result; default %(default)s',
    )
    parser.add_argument('--workers', type=int, default=4, help='threads that decode image files; default %(default)s')
    add_device(parser)
    parser.add_argument(
        '--cache',
        metavar='DIR',
        help='folder that caches statistics and features of every set, of unlimited size; default ~/.cache/fvq/statistics',
    )
    parser.add_argument('--no-cache', action='store_true', help='neither read nor write the cache')
    parser.add_argument(
        '--row',
        metavar='ID',
        help='row of the paper that these samples belong to, such as t11.31: uses its protocol and shows its numbers',
    )
    add_tokbench(parser)
    add_launcher(parser)
    parser.add_argument(
        '--out', help='also write the results to this JSON file; name it metrics*.json for tools/report.py'
    )
    add_json(parser, 'what --out writes')
    args = parser.parse_args(argv)
    for option, least in (('workers', 0), ('crop', 1), ('images', 1)):
        check_least(f'--{option}', getattr(args, option), least)

    from mmengine.dist import is_main_process

    from fvq_core.errors import UserError
    from fvq_core.files.json import write_json
    from fvq_core.ops.distributed import choose_device, find_launcher, join_group
    from fvq_core.stamp import versions

    from ..generation import ImageSetEvaluator
    from ..generation.score_names import check_scores
    from ..paper.protocols import DEFAULT_PRESET, beside_paper, protocols
    from ..paper.tables import find_row
    from ..presets import find_preset

    prepare_output('--out', args.out)
    if args.text or args.faces:
        score_tokbench(args)
        return
    row = find_row(args.row) if args.row else None
    protocol = protocols().get(row or '')
    preset = args.preset or (protocol.preset if protocol else DEFAULT_PRESET)
    find_preset(preset)
    check_scores(args.metrics or ())
    prepare_output('--save-stats', args.save_stats, '.npz')
    extractor = extractor_config(args.extractor, args.extractor_options)
    if extractor is False:
        raise UserError('--extractor: expected a network, got none; leave it out for that of the preset.')
    join_group(find_launcher(args.launcher), args.device)
    evaluator = ImageSetEvaluator(
        preset=preset,
        extractor=extractor,
        metrics=args.metrics,
        classes=args.classes,
        crop=args.crop,
        images=args.images,
        convert=args.convert_rgb,
        batch_size=args.batch_size,
        workers=args.workers,
        device=choose_device(args.device),
        cache=None if args.no_cache else args.cache or 'default',
    )
    scored = evaluator.evaluate(args.samples, args.reference, args.save_stats)
    if not is_main_process():
        return
    print(scored.preset)
    for name, metric in scored.metrics.items():
        print(f'{name:20s} {metric!s:>10s}   {image_count(metric.samples)}; {metric.stamp}')
    for label, metrics in scored.classes.items():
        print(class_line(label, metrics))
    if protocol:
        print('\n'.join(beside_paper(protocol, preset, scored.metrics)))
    for note in scored.notes:
        print(f'note: {note}')
    by_class = {str(label): in_json(metrics) for label, metrics in scored.classes.items()}
    document = {
        'metrics': in_json(scored.metrics),
        **({'classes': by_class} if by_class else {}),
        **scored.facts,  # with the path of the images as `samples`
    }
    document |= {'row': row, 'notes': scored.notes, 'versions': versions()}
    if args.out:
        write_json(Path(args.out), document)
    give(document)
    if scored.unsaved:
        raise UserError(scored.unsaved)
    if args.save_stats:
        print(f'statistics of {image_count(scored.facts["images"])} are in {args.save_stats}')


def class_line(label: int, metrics: Mapping[str, Any]) -> str:
    """The numbers of one class, with the part of their stamps that fits on a line; the JSON has all of it."""
    first = next(iter(metrics.values()), None)
    if first is None:
        return f'class {label:<5d} no metric could be computed'
    partial = ', partial' if first.partial else ''
    numbers = [f'{key} {metric}{" (TOO FEW)" if metric.too_few else ""}' for key, metric in metrics.items()]
    return f'class {label:<5d} {image_count(first.samples)}; {first.preset}{partial}: {", ".join(numbers)}'
