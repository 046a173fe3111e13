#!/usr/bin/env python
"""Time to evaluate 500 reconstructions in one pass, against going through PNG files, on one thread.

Both ways start from the same tensors, which stand for what a tokenizer's decoder has just made: crops of the bundled photos
with a little noise, float32 in [-1, 1]. Both round them to 8 bits and take the same metrics, and no feature network runs on
either side. By way of files each reconstruction is written as a PNG by PIL at its default settings, and when all are there
each is read again; originals stay in memory on both sides, though scripts read them from files too. The ways take turns.

`ratio` is with PSNR alone; `ratio_with_ssim` adds SSIM, whose own cost is the same on both sides and brings them together.

    python benchmarks/one_pass.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor

from fvq_core.data.photos import BundledPhotos
from fvq_core.data.sample import to_tensor
from fvq_core.images import from_uint8, to_uint8
from fvq_core.registry import METRICS

SIDE, BATCH = 256, 20
STAND_IN: Any = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]))  # metrics ask a tokenizer for its device


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    """Originals and reconstructions."""
    photos = BundledPhotos('train', crop_size=SIDE, crops=count)
    pixels = torch.stack([photos[number]['image'] for number in range(count)])  # pyrefly: ignore[bad-argument-type]
    images = from_uint8(pixels)
    rng = torch.Generator().manual_seed(0)
    noisy = images + torch.randn(images.shape, generator=rng) * 0.05
    return list(zip(images.split(BATCH), noisy.split(BATCH), strict=True))


def score(names: Sequence[str], pairs: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Metrics over pairs of images in [-1, 1]."""
    metrics = [METRICS.build(dict(type=name)) for name in names]
    for metric in metrics:
        metric.reset(STAND_IN)
    for images, reconstructions in pairs:
        for metric in metrics:
            metric.update(images, SimpleNamespace(reconstruction=reconstructions), STAND_IN)
    return {key: value.value for metric in metrics for key, value in metric.compute().items()}


def one_pass(names: Sequence[str], pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Straight from the decoder."""
    return score(names, iter(pairs))


def through_files(names: Sequence[str], pairs: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Written, and read again when all are written."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (_, reconstructions) in enumerate(pairs):
            for index, pixels in enumerate(to_uint8(reconstructions)):
                image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
                image.save(Path(folder, f'{number * BATCH + index:06d}.png'))

        def read() -> Iterator[tuple[Tensor, Tensor]]:
            for number, (images, _) in enumerate(pairs):
                paths = [Path(folder, f'{number * BATCH + index:06d}.png') for index in range(len(images))]
                yield images, from_uint8(torch.stack([to_tensor(Image.open(path)) for path in paths]))

        return score(names, read())


def seconds(way: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    start = time.perf_counter()
    values = way()
    return time.perf_counter() - start, values


def compare_ways(images: int, repeats: int) -> dict[str, float]:
    """Seconds of both ways, the median of some repeats, and their ratio; on as many threads as torch is set to."""
    pairs = batches(images)
    found: dict[str, float] = {}
    for key, names in (('', ['PSNR']), ('_with_ssim', ['PSNR', 'SSIM'])):
        one_pass(names, pairs[:1])  # a first round, untimed
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            took, direct = seconds(lambda names=names: one_pass(names, pairs))
            times[0].append(took)
            took, detour = seconds(lambda names=names: through_files(names, pairs))
            times[1].append(took)
            assert direct == detour, 'both ways must give the same numbers'
        quick, slow = (statistics.median(spent) for spent in times)
        found.update({f'ratio{key}': slow / quick, f'one_pass_s{key}': quick, f'files_s{key}': slow})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    parser.add_argument('--images', type=int, default=500, help='number of reconstructions; default %(default)s')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    args = parser.parse_args()

    torch.set_num_threads(1)
    document: dict[str, Any] = {
        'task': f'{args.images} reconstructions of {SIDE}x{SIDE} from float tensors to metrics, one thread, no network',
        'versions': {'torch': torch.__version__, 'pillow': PIL.__version__, 'numpy': np.__version__},
    }
    document.update(compare_ways(args.images, args.repeats))
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for key, words in (('', 'PSNR'), ('_with_ssim', 'PSNR and SSIM')):
        print(
            f'{words}: one pass {document[f"one_pass_s{key}"]:.2f} s, by way of PNG files '
            f'{document[f"files_s{key}"]:.2f} s, ratio {document[f"ratio{key}"]:.1f}'
        )


if __name__ == '__main__':
    main()
