#!/usr/bin/env python
"""What a component costs: a training step of each config against the first one, with its discriminator on.

    python benchmarks/step_parts.py configs/fvq/fvq_16k.py configs/ablations/fvq_16k_{dino,align,vit,dino_late_align_vit}.py

Networks are of full size, images random, 256x256; a process each, in turn, so that peak memory is each one's own.
On a GPU: seconds of a step, the device waited for, bfloat16, and the peak of what is allocated. On a CPU: processor
seconds of a step, float32, and the process's peak resident memory. Frozen networks have random weights, which cost the same.
A quantizer on frozen latents is given random ones, of the size that a store has of such images: its autoencoder does not run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from fvq_core.config.read import load_config
from fvq_core.files.markdown import markdown_table
from fvq_core.registry import MODELS
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_eval.rehearsal.shrink_config import shrink_config
from fvq_generators.tasks import FrozenLatentsTask

SIDE, SMALL_SIDE = 256, 64
KIB = 1 if sys.platform == 'darwin' else 1024  # what a unit of ru_maxrss is


def with_random_weights(node: Any) -> None:
    """Let every frozen network start at random instead of from a file."""
    if isinstance(node, dict):
        if 'weights' in node:
            node.update(weights=None, random=True)
        for value in node.values():
            with_random_weights(value)
    elif isinstance(node, list):
        for value in node:
            with_random_weights(value)


def random_batch(task: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    """Images, or latents of their size if the task learns those of a store."""
    if not isinstance(task, FrozenLatentsTask):
        return {'images': torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)}
    layout = task.frozen.latent_layout(side, side)
    return {'latents': layout.denormalize(torch.randn(batch, layout.channels, *layout.positions.shape))}


def measured(path: str, batch: int, repeats: int, small: bool) -> dict[str, float]:
    """One config's step: seconds, peak GiB and millions of trained parameters. The first step is not counted."""
    cuda = torch.cuda.is_available()
    cfg = load_config(path)
    side = SIDE
    if small:
        cfg, side = shrink_config(cfg), SMALL_SIDE
    with_random_weights(cfg.model)
    if 'perceptual_loss' in cfg.model:
        cfg.model.perceptual_loss.update(random=True)
    start = cfg.model.adversarial.start if 'adversarial' in cfg.model else 0
    cfg.optim_wrapper.precision = 'bfloat16' if cuda else 'float32'
    task = MODELS.build(cfg.model).place(torch.device('cuda' if cuda else 'cpu')).train()
    optimizers = build_optim_wrappers(cfg.optim_wrapper, task.parts())
    data = random_batch(task, batch, side)
    clock: Callable[[], float] = time.perf_counter if cuda else time.process_time
    seconds = []
    for _ in range(1 + repeats):
        began = clock()
        task.train_step([data], optimizers, start + 1)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    trained = sum(p.numel() for part in task.parts().values() for p in part.parameters() if p.requires_grad)
    return dict(seconds=statistics.median(seconds[1:]), peak_gib=peak / 2**30, trained_millions=trained / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='configs to measure; the first is the baseline')
    parser.add_argument(
        '--batch', type=int, default=32 if torch.cuda.is_available() else 2, help='images per step; default %(default)s'
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=3,
        help='measured steps, after one warm-up step; the median counts; default %(default)s',
    )
    parser.add_argument('--small', action='store_true', help='use the sizes of tools/train.py --smoke, to try it out')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for path in args.configs:
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as fresh:
            found[Path(path).stem] = fresh.submit(measured, path, args.batch, args.repeats, args.small).result()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    if args.json:
        print(json.dumps(dict(device=device, batch=args.batch, configs=found)))
        return
    first = next(iter(found.values()))
    rows = [
        [
            name,
            f'{each["trained_millions"]:.0f}',
            f'{each["seconds"]:.2f}',
            f'{each["seconds"] / first["seconds"]:.2f}',
            f'{each["peak_gib"]:.2f}',
        ]
        for name, each in found.items()
    ]
    side = SMALL_SIDE if args.small else SIDE
    print(f'{device}, {args.batch} images of {side}x{side}')
    print(markdown_table(['config', 'trained, millions', 'seconds', 'of the first', 'peak GiB'], rows))


if __name__ == '__main__':
    main()
