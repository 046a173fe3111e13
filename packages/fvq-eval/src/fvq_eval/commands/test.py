"""Evaluate a tokenizer with a config's metrics on its evaluation set, or under published protocols on image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import ConfigDict

from fvq_core.commands.command import add_json, add_launcher, add_size, add_weights, command, give, make_parser
from fvq_core.config.key_value import KeyValueAction
from fvq_core.errors import UserError
from fvq_core.stamp import image_count

from .options import add_extractor, check_least, extractor_config, prepare_output

if TYPE_CHECKING:
    from fvq_core.metric import MetricValue

EXAMPLE = """\
  tools/test.py configs/fvq/fvq_photos.py work_dirs/fvq_photos/iter_1600.pth
  tools/test.py configs/fvq/fvq_photos.py work_dirs/fvq_photos/tokenizer --out metrics.json
  tools/test.py configs/fvq/fvq_16k.py work_dirs/fvq_16k/iter_400365.pth --data data/coco/val2017  # COCO numbers of table 3
  tools/test.py configs/fvq/fvq_16k.py fvq_16k --data data/imagenet/val --preset fvq-release llamagen strict
  tools/test.py configs/fvq/fvq_16k.py fvq_16k --data data/coco/val2017 --preset strict --images 5000
  torchrun --nproc-per-node 8 tools/test.py configs/fvq/fvq_16k.py fvq_16k --data data/imagenet/val --preset ibq

A preset fixes everything that affects a metric besides the model: crop, resize kernel, rounding, codec, reference, network, and
the conventions of PSNR, SSIM and LPIPS (docs/evaluation.md lists them). Its crop replaces that of the config."""

OF_PRESETS = ('extractor', 'extractor_options', 'reference', 'lpips_weights', 'image_size', 'images', 'perturb')


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('test.py', __doc__ or '', EXAMPLE)
    parser.add_argument('config', help='a Python config, see configs/')
    parser.add_argument('checkpoint', help='an iter_N.pth, or a saved tokenizer')
    parser.add_argument(
        '--data',
        metavar='DIR',
        help="folder of images or tar files to evaluate on; default: the config's evaluation set",
    )
    parser.add_argument(
        '--preset',
        nargs='+',
        metavar='P',
        help='protocols, in one pass: adm, llamagen, fvq-release, ibq, rqvae, strict; default: the metrics of the config',
    )
    add_extractor(parser, 'Inception of 2015; none: skip rFID and other feature metrics')
    parser.add_argument(
        '--reference', metavar='NPZ', help='reference statistics, for presets that compare with a file, such as adm'
    )
    parser.add_argument('--lpips-weights', metavar='PATH', help='file or folder with the LPIPS networks')
    parser.add_argument('--image-size', type=int, metavar='N', help="crop size in pixels; default: the presets', 256")
    parser.add_argument(
        '--images',
        type=int,
        metavar='N',
        help='images a complete set has; fewer are marked partial; default 50000, ImageNet val',
    )
    parser.add_argument(
        '--perturb',
        nargs=2,
        metavar=('RATE', 'NEAREST'),
        help='replace a share RATE in [0, 1] of the codes by one of their NEAREST nearest before decoding; FID becomes pFID',
    )
    parser.add_argument('--batch-size', type=int, metavar='N', help="images per batch; default: the config's")
    parser.add_argument('--workers', type=int, metavar='N', help="data loader processes; default: the config's")
    add_weights(parser)
    add_size(parser)
    add_launcher(parser)
    parser.add_argument('--out', help='also write the results to this JSON file')
    add_json(parser, 'what --out writes')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='override config entries',
    )
    args = parser.parse_args(argv)
    for option in OF_PRESETS:
        if getattr(args, option) is not None and not args.preset:
            raise UserError(f'test.py: --{option.replace("_", "-")} needs a preset; name one with --preset.')
    for option, least in (('batch_size', 1), ('workers', 0), ('image_size', 1), ('images', 1)):
        check_least(f'--{option.replace("_", "-")}', getattr(args, option), least)
    perturb = None if args.perturb is None else numbers(args.perturb)
    prepare_output('--out', args.out)

    from mmengine.dist import is_main_process

    from fvq_core.config.read import load_config
    from fvq_core.files.json import write_json
    from fvq_core.ops.distributed import find_launcher, join_group
    from fvq_core.training.metrics_file import metrics_document

    from ..reconstruction.evaluate_checkpoint import evaluate_checkpoint

    cfg = load_config(args.config, args.cfg_options, size=args.size)
    if cfg.get('val_dataloader') is not None:
        if args.data:
            use_image_folder(cfg.val_dataloader, args.data)
        given = dict(batch_size=args.batch_size, num_workers=args.workers)
        cfg.val_dataloader.update({key: value for key, value in given.items() if value is not None})
    evaluator = preset_evaluator(args, perturb) if args.preset else None
    join_group(find_launcher(args.launcher), cfg.get('device', 'auto'))
    if evaluator is None:
        results, weights = evaluate_checkpoint(cfg, args.checkpoint, args.weights)
    else:
        results, weights = evaluate_presets(evaluator, cfg, args.checkpoint, args.weights)
    if not is_main_process():
        return
    print_results(results)
    print(f'weights: {weights}')
    document = metrics_document(results, cfg, cfg.randomness.seed, weights)
    if evaluator is not None:
        for line in evaluator.left_out:
            print(f'left out: {line}')
        for preset in evaluator.presets:
            print(preset)
        for line in evaluator.side_by_side(results):
            print(line)
        document['presets'] = {preset.name: preset.to_dict() for preset in evaluator.presets}
        document.update(left_out=evaluator.left_out, dead_codes=evaluator.dead_codes, **evaluator.facts)
    if args.out:
        write_json(Path(args.out), document)
    give(document)


def print_results(results: Mapping[str, MetricValue]) -> None:
    """One line a number, with what it takes to compare it."""
    width = max([28, *map(len, results)])
    for name, metric in results.items():
        tokens = f', {metric.tokens} tokens' if metric.tokens else ''
        print(f'{name:{width}s} {metric!s:>14s}   {image_count(metric.samples)}{tokens}; {metric.stamp}')


def numbers(words: Sequence[str]) -> tuple[float, int]:
    """Rate and number of codes of `--perturb`."""
    try:
        return float(words[0]), int(words[1])
    except ValueError:
        given = ' '.join(words)
        raise UserError(
            f'--perturb: expected a rate in [0, 1] and a whole number of codes, such as 0.5 100, got {given}.'
        ) from None


def preset_evaluator(args: Any, perturb: tuple[float, int] | None) -> Any:
    """A `PresetEvaluator` as the command line asks for it."""
    from fvq_core.ops.latent_perturbation import LatentPerturbation

    from ..reconstruction import PresetEvaluator

    return PresetEvaluator(
        presets=args.preset,
        extractor=extractor_config(args.extractor, args.extractor_options),
        lpips_weights=args.lpips_weights,
        reference=args.reference,
        image_size=args.image_size,
        images=args.images,
        perturbation=None if perturb is None else LatentPerturbation(*perturb),
    )


def evaluate_presets(evaluator: Any, cfg: Any, checkpoint: str, weights: Any) -> tuple[dict[str, MetricValue], str]:
    """The numbers of every preset over the config's evaluation set, and what the weights are called in their stamps.

    The config's own crop and metrics play no part: each preset crops whole files its own way.
    """
    from fvq_core.data.loader import build_dataset
    from fvq_core.errors import user_errors

    from ..reconstruction.evaluate_checkpoint import evaluation_task
    from ..reconstruction.trained_with import networks_of, warn_of_same_network

    task, loader = evaluation_task(cfg, checkpoint, weights), cfg.val_dataloader
    if task.autoencoder() is None:
        raise UserError(
            f'--preset: {type(task).__name__} reconstructs no images; score samples with tools/sample.py and tools/evaluate.py.'
        )
    saved = task.tokenizer.loaded_facts[1].get('trained_with') if Path(checkpoint).is_dir() else networks_of(cfg.model)
    if line := warn_of_same_network(evaluator.extractor, saved or []):
        evaluator.leave_out(line)
    with user_errors('this config cannot be used'):
        dataset = build_dataset(loader, cfg.randomness.get('seed') or 0)
    results = evaluator.evaluate(
        task.tokenizer,
        dataset,
        batch_size=loader.batch_size,
        num_workers=loader.get('num_workers', 0),
        max_unreadable=loader.get('max_unreadable', 0.1),
    )
    return results, f'{checkpoint}{task.weights_note}'


def use_image_folder(loader: ConfigDict, folder: str) -> None:
    """Make an evaluation loader, changed in place, read a folder of images or tar files, with the config's own crop."""
    from fvq_core.data.image_source import source_config
    from fvq_core.data.transforms import ADMCenterCrop

    old = loader.dataset
    crop = dict(type=ADMCenterCrop, size=old.get('crop_size', 256), upsample=True)
    kept = {key: old[key] for key in ('exif_orientation',) if key in old}
    loader.dataset = ConfigDict(**source_config(folder), transforms=old.get('transforms', [crop]), **kept)
