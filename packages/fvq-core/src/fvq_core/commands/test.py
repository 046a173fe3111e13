"""Evaluate a tokenizer on a config's evaluation set with the config's metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

from ..config import load_config, preflight, use_image_folder
from .command import add_launcher, add_weights, command, make_parser

EXAMPLE = """\
  tools/test.py configs/fvq/fvq_photos.py work_dirs/fvq_photos/iter_600.pth
  tools/test.py configs/fvq/fvq_photos.py work_dirs/fvq_photos/tokenizer --out metrics.json
  tools/test.py configs/fvq/fvq_16k.py work_dirs/fvq_16k/iter_400365.pth --data data/coco/val2017  # table 3's"""


@command
def main(argv: Sequence[str] | None) -> None:
    parser = make_parser('test.py', __doc__ or '', EXAMPLE)
    parser.add_argument('config', help='a Python config, see configs/')
    parser.add_argument('checkpoint', help='an iter_N.pth, or a folder that tools/export.py wrote')
    parser.add_argument('--data', metavar='DIR', help="a folder of images in place of the config's evaluation set")
    add_weights(parser)
    add_launcher(parser)
    parser.add_argument('--out', help='write the numbers to this JSON file too')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    args = parser.parse_args(argv)

    from mmengine.dist import is_main_process

    from ..evaluation import evaluate_checkpoint
    from ..hooks.report_hook import metrics_document, write_json
    from ..runner.distributed import find_launcher, join_group

    cfg = load_config(args.config, args.cfg_options)
    if args.data:
        use_image_folder(cfg.val_dataloader, args.data)
    preflight(cfg, train=False)
    join_group(find_launcher(args.launcher), cfg.device)
    results, weights = evaluate_checkpoint(cfg, args.checkpoint, args.weights)
    if not is_main_process():
        return
    for name, metric in results.items():
        tokens = f', {metric.tokens} tokens' if metric.tokens else ''
        print(f'{name:28s} {metric!s:>14s}   {metric.samples} images{tokens}; {metric.protocol}')
    print(f'weights: {weights}')
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(args.out), metrics_document(results, cfg, cfg.randomness.seed, weights))
