#!/usr/bin/env python
"""Training a generator on images, encoded by a frozen tokenizer at each step, against training on a store of codes.

A small LlamaGen on crops of 64x64 of the bundled photos, encoded by a tokenizer with random weights; on a GPU LlamaGen-B on
256x256 and VQ-16's network. The variants take turns and are timed without their first iterations:
    store       codes from disk
    images      crops, which the tokenizer encodes in the run's precision, float32 here and bfloat16 on a GPU

    python benchmarks/codes_on_the_fly.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from fvq_core.config.read import load_config
from fvq_core.registry import TOKENIZERS
from fvq_core.training.runner import Runner
from fvq_generators.commands import extract_codes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.small_set import Timer

WAYS = ('store', 'images')


def config(way: str, folder: Path, tokenizer: Path, args: argparse.Namespace, work_dir: Path) -> Any:
    """LlamaGen without evaluations and reports."""
    options = {
        'train_cfg.max_iters': args.skipped + args.iterations,
        'default_hooks.report': None,
        'default_hooks.progress': None,
        'default_hooks.checkpoint.interval': 10**6,
    }
    cfg = load_config(
        f'configs/generation/{"llamagen_photos" if args.small else "llamagen_b"}.py', options, str(work_dir)
    )
    cfg.train_dataloader.update(batch_size=args.batch_size, num_workers=args.workers)
    if way == 'store':
        cfg.train_dataloader.dataset.root = str(folder / 'codes')
        return cfg
    photos = dict(type='BundledPhotos', split='train', crop_size=args.size, short_side=args.size * 9 // 8)
    cfg.train_dataloader.dataset = photos
    cfg.model.tokenizer = str(tokenizer)
    return cfg


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    parser.add_argument(
        '--small', action='store_true', default=not on_gpu, help='small networks and images; default on a CPU'
    )
    parser.add_argument(
        '--workers', type=int, default=min(8, os.cpu_count() or 1), help='data loader processes; default %(default)s'
    )
    parser.add_argument(
        '--repeats', type=int, default=3, help='measured repeats, of which the median counts; default %(default)s'
    )
    args = parser.parse_args()
    args.size, args.batch_size, args.skipped, args.iterations = (64, 32, 2, 8) if args.small else (256, 64, 10, 50)
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.manual_seed(0)
        source = 'configs/generation/codes_photos.py' if args.small else 'configs/baselines/llamagen_16k.py'
        tokenizer = TOKENIZERS.build(load_config(source).model.tokenizer).fold().save_pretrained(folder / 'tokenizer')
        crops = ['--size', str(args.size), '--crops', 'random', '10']
        if extract_codes.main([str(tokenizer), 'bundled', str(folder / 'codes'), *crops]):
            raise SystemExit(2)
        for turn in range(args.repeats):
            for way in WAYS:
                runner = Runner.from_cfg(config(way, folder, tokenizer, args, folder / f'{way}{turn}'))
                timer = Timer(args.skipped, args.skipped + args.iterations)
                runner.register_hook(timer)
                runner.train()
                found[way].append(args.iterations * args.batch_size / timer.seconds)
    rates = {name: statistics.median(values) for name, values in found.items()}
    document = {
        'task': f'LlamaGen on {args.size}x{args.size}, batch {args.batch_size}',
        'device': torch.cuda.get_device_name() if on_gpu else 'CPU',
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'images_per_second': rates,
        'ratio': {name: rate / rates['store'] for name, rate in rates.items()},
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name, rate in rates.items():
        print(f'{name:10s} {rate:7.1f} images/s, {rate / rates["store"]:.2f} of the store')


if __name__ == '__main__':
    main()
