#!/usr/bin/env python
"""Iterations per second of a small run with its photos kept on the device, against reading them for every batch.

A row of `configs/mini/gpu` at 64x64 on JPEGs of 288x288, made of the bundled photos: K = 16,384, D = 256, batch 64. A CPU
runs it small (`--small`). The ways take turns, train from the same start on the same crops, which is checked, and are
timed without their first iterations:
    loader          files are decoded by workers for every batch
    on_device       `train_dataloader.on_device=True`
    cuda_graphs     the same with `model.compile='reduce-overhead'`, on a GPU

`ratio` is on_device over loader, `ratio_of_batches` the same of their batches without a training step.

    python benchmarks/small_set.py --json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from PIL import Image

from fvq_core.config.read import load_config
from fvq_core.data.loader import build_loader
from fvq_core.data.photos import load_photos
from fvq_core.images import device_images
from fvq_core.training.runner import Runner

SHORT_SIDE, TARGET = 288, 25.0


def write_photos(folder: Path, count: int) -> None:
    """Squares of the bundled photos, each turned and mirrored in several ways, as JPEGs."""
    photos = list(load_photos().values())
    for number in range(count):
        image = Image.fromarray(photos[number % len(photos)]).resize((SHORT_SIDE, SHORT_SIDE), Image.Resampling.LANCZOS)
        turned = image.rotate(90 * (number // len(photos) % 4))
        turned.save(folder / f'{number:04d}.jpg', quality=90)


class Timer(Hook):
    """Seconds of the iterations after the first `skipped`."""

    def __init__(self, skipped: int, iterations: int) -> None:
        self.skipped, self.iterations, self.start, self.seconds = skipped, iterations, 0.0, 0.0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 in (self.skipped, self.iterations):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            self.start, self.seconds = now, now - self.start


def config(
    row: str, photos: Path, work_dir: Path, args: argparse.Namespace, on_device: bool, compile: bool | str
) -> Any:
    """The row at 64x64 without evaluations and reports."""
    options = {
        'train_dataloader.dataset.root': str(photos),
        'train_dataloader.batch_size': args.batch_size,
        'train_dataloader.num_workers': args.workers,
        'train_dataloader.on_device': on_device,
        'train_cfg.max_iters': args.skipped + args.iterations,
        'model.compile': compile,
        'model.tokenizer.quantizer.codebook_size': args.codes,
        'default_hooks.report': None,
        'default_hooks.progress': None,
        'default_hooks.checkpoint.interval': 10**6,
    }
    cfg = load_config(row, options, work_dir=str(work_dir))
    cfg.train_dataloader.dataset.transforms[0].size = args.size
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    return cfg


def iterations_per_second(cfg: Any, args: argparse.Namespace) -> float:
    """Of one run."""
    runner = Runner.from_cfg(cfg)
    timer = Timer(args.skipped, args.skipped + args.iterations)
    runner.register_hook(timer)
    runner.train()
    return args.iterations / timer.seconds


def batches(cfg: Any, device: str, count: int) -> tuple[list[torch.Tensor], float]:
    """The first batches on the CPU, and how many a second the loader gives after two."""
    loader = build_loader(cfg.train_dataloader, 0, train=True, device=device)
    endless, images, start = iter(loader), [], 0.0
    for number, batch in enumerate(itertools.islice(endless, count + 2)):
        images.append(device_images(batch, device))
        if number == 1:
            images[-1].sum().item()
            start = time.perf_counter()
    images[-1].sum().item()  # waits for the device
    return [each.cpu() for each in images], count / (time.perf_counter() - start)


def main() -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    parser.add_argument('--row', default='configs/mini/gpu/vq.py', help='config to train; default %(default)s')
    parser.add_argument(
        '--small', action='store_true', default=not on_gpu, help='few photos, codes and steps; default on a CPU'
    )
    parser.add_argument(
        '--workers', type=int, default=min(8, os.cpu_count() or 1), help='data loader processes; default %(default)s'
    )
    parser.add_argument(
        '--repeats', type=int, default=1, help='measured repeats, of which the median counts; default %(default)s'
    )
    args = parser.parse_args()
    args.size, args.batch_size, args.codes, args.photos = (64, 8, 1024, 40) if args.small else (64, 64, 16384, 900)
    args.skipped, args.iterations = (2, 6) if args.small else (40, 200)
    device = 'cuda' if on_gpu else 'cpu'
    ways: dict[str, tuple[bool, bool | str]] = {'loader': (False, False), 'on_device': (True, False)}
    if on_gpu:
        ways['cuda_graphs'] = (True, 'reduce-overhead')

    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, 'photos')
        photos.mkdir()
        write_photos(photos, args.photos)
        for turn in range(args.repeats):
            for name, (on_device, compile) in ways.items():
                cfg = config(args.row, photos, Path(folder, f'{name}{turn}'), args, on_device, compile)
                found[name].append(iterations_per_second(cfg, args))
        read, kept = (
            batches(config(args.row, photos, Path(folder), args, way, False), device, 8) for way in (False, True)
        )
    rates = {name: statistics.median(values) for name, values in found.items()}
    document = {
        'task': f'{args.row}, K = {args.codes:,}, {args.size}x{args.size}, batch {args.batch_size}, {args.photos} photos',
        'device': torch.cuda.get_device_name() if on_gpu else 'CPU',
        'threads': torch.get_num_threads(),
        'workers': args.workers,
        'torch': torch.__version__,
        'same_batches': all(torch.equal(one, other) for one, other in zip(read[0], kept[0], strict=True)),
        'iterations_per_second': rates,
        'batches_per_second': {'loader': read[1], 'on_device': kept[1]},
        'ratio': rates['on_device'] / rates['loader'],
        'ratio_of_batches': kept[1] / read[1],
        'best_iterations_per_second': max(rates.values()),
        'target': None if args.small else TARGET,
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name, rate in rates.items():
        print(f'{name:12s} {rate:6.2f} iterations/s')
    same = 'the same' if document['same_batches'] else 'OTHER'
    print(f'ratio {document["ratio"]:.2f}, of the batches {document["ratio_of_batches"]:.2f}; {same} crops')


if __name__ == '__main__':
    main()
