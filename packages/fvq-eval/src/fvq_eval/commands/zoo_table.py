"""Evaluate saved tokenizers under every preset on the same images; writes one table with hashes of weights and images."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from fvq_core.commands.command import add_device, add_json, add_launcher, command, give, make_parser
from fvq_core.errors import UserError

from .options import add_extractor, check_least, extractor_config

EXAMPLE = """\
  tools/zoo_table.py llamagen_16k fvq_16k user/my_tokenizer --data data/imagenet/val --out work_dirs/zoo   # call again to go on
  tools/zoo_table.py llamagen_16k fvq_16k --data data/imagenet/val --out work_dirs/zoo --estimate    # hours, on this machine
  tools/zoo_table.py a b --data photos --images 1000 --preset strict --extractor RandomFeatures --out work_dirs/zoo
  torchrun --nproc-per-node 8 tools/zoo_table.py llamagen_16k fvq_16k --data data/imagenet/val --out work_dirs/zoo

tools/convert.py makes tokenizer folders from released checkpoints. docs/evaluation.md lists the presets."""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('zoo_table.py', __doc__ or '', EXAMPLE)
    add = parser.add_argument
    add(
        'tokenizers',
        nargs='+',
        help='saved tokenizers: folders written by training, tools/export.py or tools/convert.py, or user/name on the hub',
    )
    add('--data', required=True, metavar='DIR', help='folder of images or tar files, such as data/imagenet/val')
    add('--out', required=True, metavar='DIR', help='output folder for table.md, table.csv, table.json and the scores')
    add(
        '--preset',
        nargs='+',
        metavar='P',
        help='evaluation protocols; default: all that compare with the originals, plus adm with --reference',
    )
    add_extractor(parser, 'Inception of 2015; none: skip rFID and other feature metrics')
    add('--reference', metavar='NPZ', help='reference statistics, for presets that compare with a file, such as adm')
    add('--lpips-weights', metavar='PATH', help='file or folder with the LPIPS networks')
    add('--image-size', type=int, metavar='N', help="crop size in pixels; default: the presets', 256")
    add(
        '--images',
        type=int,
        metavar='N',
        help='images a complete set has; fewer are marked partial; default 50000, ImageNet val',
    )
    add('--batch-size', type=int, default=32, metavar='N', help='images per batch; default %(default)s')
    add('--workers', type=int, default=0, metavar='N', help='data loader processes; default %(default)s')
    add(
        '--estimate',
        type=int,
        nargs='?',
        const=64,
        metavar='N',
        help='only estimate the hours for the whole set on this machine, by timing N and 2 N images (default 64)',
    )
    add_device(parser)
    add_launcher(parser)
    add_json(parser, 'files of the `table` and its `tokenizers`; with --estimate the hours of each')
    args = parser.parse_args(argv)
    for option in ('batch_size', 'image_size', 'images', 'estimate'):
        check_least(f'--{option.replace("_", "-")}', getattr(args, option), 1)
    check_least('--workers', args.workers, 0)

    from mmengine.dist import broadcast_object_list, is_main_process

    from fvq_core.data.image_source import source_config
    from fvq_core.files.hash import file_sha256
    from fvq_core.ops.distributed import choose_device, find_launcher, join_group
    from fvq_core.registry import DATASETS

    from ..presets.find_preset import PRESETS
    from ..reconstruction import PresetEvaluator
    from ..reconstruction.scored_tokenizer import SavedTokenizer, ScoredTokenizers, data_facts
    from ..reports.output_files import make_folder
    from ..reports.zoo_tables import write_tables

    default = [
        name for name, one in PRESETS.items() if one.reference == 'originals' or (args.reference and name == 'adm')
    ]
    presets, extractor = args.preset or default, extractor_config(args.extractor, args.extractor_options)

    def make_evaluator() -> PresetEvaluator:
        return PresetEvaluator(presets, extractor, args.lpips_weights, args.reference, args.image_size, args.images)

    evaluator = make_evaluator()  # what is wrong with the options is said before anything is read
    out, device = make_folder(args.out), choose_device(args.device)
    join_group(find_launcher(args.launcher), args.device)
    found = [find(SavedTokenizer.find, source) for source in args.tokenizers]
    check_distinct([saved for saved in found if not isinstance(saved, dict)])
    files: Any = DATASETS.build(source_config(args.data))
    if args.estimate is not None:
        give(print_estimates(found, make_evaluator, files, args, device))
        return
    shared: list[Any] = [data_facts(files, args.data) if is_main_process() else None]
    broadcast_object_list(shared)
    settings = {
        'presets_asked': [preset.to_dict() for preset in evaluator.declared],
        'extractor': extractor,
        'lpips_weights': args.lpips_weights,
        'reference_file_sha256': None if args.reference is None else file_sha256(args.reference),
    }
    scores = ScoredTokenizers(out, files, {**shared[0], 'settings': settings}, make_evaluator)
    call = shlex.join(['tools/zoo_table.py', *(sys.argv[1:] if argv is None else argv)])
    documents: list[dict[str, Any]] = []
    paths: dict[str, str] = {}
    for saved in found:
        if isinstance(saved, dict):
            document = saved
        elif (earlier := scores.found(saved)) is not None:
            document = earlier
            say(f'{saved.source}: already scored')
        else:
            document = try_to_score(scores, saved, device, args.batch_size, args.workers)
        documents.append(document)
        if is_main_process():
            paths = write_tables(documents, out, call)
    if is_main_process():
        print(f'table: {", ".join(paths.values())}')
        give({'table': paths, 'tokenizers': documents})


def find(finder: Any, source: str) -> Any:
    """A saved tokenizer; a document that says why there is none, which costs no other its row."""
    try:
        return finder(source)
    except UserError as error:
        return failed(source, error)


def failed(source: str, error: Exception, **hashes: str) -> dict[str, Any]:
    """The row of a tokenizer that could not be scored; the next call tries again."""
    text = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    line = ' '.join(text.split())
    say(f'{source}: FAILED: {line}')
    return {'tokenizer': source, **hashes, 'failure': line}


def try_to_score(scores: Any, saved: Any, device: Any, batch_size: int, workers: int) -> dict[str, Any]:
    """Score a tokenizer; what is wrong with it, or too large for the memory, costs no other its row."""
    import torch
    from mmengine.dist import get_world_size

    try:
        document = scores.score(saved, device, batch_size, workers)
    except UserError as error:  # all ranks raise it together
        document = failed(saved.source, error, **saved.hashes)
    except Exception as error:
        if get_world_size() > 1:  # one rank's: the others wait for it in the middle of this tokenizer, and cannot go on
            raise
        traceback.print_exc()
        document = failed(saved.source, error, **saved.hashes)
    else:
        say(f'{saved.source}: {document.get("seconds", 0):.0f} s')
        return document
    torch.cuda.empty_cache()  # only now: the error held what was on the device
    return document


def say(line: str) -> None:
    """Print on the main process."""
    from mmengine.dist import is_main_process

    if is_main_process():
        print(line, flush=True)


def check_distinct(found: Sequence[Any]) -> None:
    """Raise if two tokenizers are the same."""
    by_hash: dict[str, str] = {}
    for saved in found:
        weights = saved.hashes.get('weights_sha256', saved.source)
        if weights in by_hash:
            raise UserError(f'{saved.source} has the weights of {by_hash[weights]}; leave one of them out.')
        by_hash[weights] = saved.source


def print_estimates(found: Sequence[Any], make_evaluator: Any, files: Any, args: Any, device: Any) -> dict[str, Any]:
    """Time each tokenizer, and print the hours of the whole set; on one process."""
    import platform

    import torch

    from ..reconstruction.time_estimate import estimate

    rows, machine = {}, torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU ({platform.machine()})'
    for saved in found:
        if isinstance(saved, dict):
            continue
        one = estimate(make_evaluator, saved.load(device), files, args.estimate, args.batch_size, args.workers)
        hours = one.hours(len(files))
        rows[saved.source] = {'images_per_second': 1 / one.per_image, 'once_seconds': one.once, 'hours': hours}
        rate = f'{1 / one.per_image:.3g} images/s, {one.once:.1f} s of set-up, timed on {one.images} images'
        print(f'{saved.source}: {rate}: {hours:.3g} hours for {len(files):,} images')
    total = sum(row['hours'] for row in rows.values())
    print(f'estimate for {len(rows)} tokenizers, one process on {machine}: {total:.3g} hours')
    return {'machine': machine, 'images': len(files), 'tokenizers': rows, 'hours': total}
