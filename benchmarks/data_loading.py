#!/usr/bin/env python
"""Data loading time per training image in milliseconds, with either decoder, from files and from a tar shard.

Bundled photos are saved as JPEGs of ImageNet's usual size (long side 500, quality 90) and read as a training run reads
them: random crop to 256 pixels and flip. The variants take turns image by image, on one thread.

    python benchmarks/data_loading.py --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from PIL import Image, features

from fvq_core.data import ImageFolder, TarShards
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.photos import load_photos
from fvq_core.images import device_images

LONG_SIDE = 500
CROP = dict(type='ADMRandomCrop', size=256, upsample=True)


def write_photos(folder: Path) -> tuple[Path, Path]:
    """The photos as JPEG files, and the same files in a tar."""
    files, shard = folder / 'photos', folder / 'photos.tar'
    files.mkdir()
    for name, photo in load_photos().items():
        image = Image.fromarray(photo)
        image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        image.save(files / f'{name}.jpg', quality=90)
    with tarfile.open(shard, 'w') as tar:
        for path in sorted(files.iterdir()):
            tar.add(path, path.name)
    return files, shard


def read_in_turns(datasets: dict[str, ImageDataset], repeats: int) -> dict[str, float]:
    """Median milliseconds an image by the name of each data set."""
    seconds: dict[str, list[float]] = {name: [] for name in datasets}
    for position in range(repeats * 10):
        for name, dataset in datasets.items():
            start = time.perf_counter()
            dataset[(position % 10, position)]
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(values[10:]) for name, values in seconds.items()}  # after a first round


def largest_difference(one: ImageDataset, other: ImageDataset, count: int) -> tuple[int, float]:
    """Largest and mean difference of the same crops, in grey levels of 255."""
    pairs = [(one[(p % 10, p)]['image'], other[(p % 10, p)]['image']) for p in range(count)]
    differences = [(a.int() - b.int()).abs() for a, b in pairs]
    largest = max(int(difference.max()) for difference in differences)
    return largest, statistics.mean(difference.float().mean().item() for difference in differences)


def convert_and_flip(batch_size: int, repeats: int) -> float:
    """Milliseconds that mirroring half a batch adds to its conversion on the device, an image."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    images = torch.randint(0, 256, (batch_size, 3, 256, 256), dtype=torch.uint8)
    batches: Sequence[dict[str, Any]] = (
        {'images': images},
        {'images': images, 'flip': torch.arange(batch_size) % 2 == 0},
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for batch, spent in zip(batches, seconds, strict=True):
            start = time.perf_counter()
            device_images(batch, device).sum().item()
            spent.append(time.perf_counter() - start)
    plain, flipped = (statistics.median(spent) for spent in seconds)
    return 1000 * (flipped - plain) / batch_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument('--repeats', type=int, default=20, help='crops per photo, for ten photos; default %(default)s')
    args = parser.parse_args()

    torch.set_num_threads(1)
    flip, deferred = dict(type='HorizontalFlip'), dict(type='HorizontalFlip', on_device=True)
    with tempfile.TemporaryDirectory() as folder:
        files, shard = write_photos(Path(folder))
        index = f'{folder}/index'
        datasets: dict[str, ImageDataset] = {
            'pil': ImageFolder(str(files), [CROP, flip]),
            'auto': ImageFolder(str(files), [CROP, flip], decoder='auto'),
            'auto, flip on device': ImageFolder(str(files), [CROP, deferred], decoder='auto'),
            'auto, tar': TarShards(str(shard), [CROP, flip], decoder='auto', index_dir=index),
        }
        milliseconds = read_in_turns(datasets, args.repeats)
        largest, mean = largest_difference(datasets['pil'], datasets['auto'], 40)
    document = {
        'task': f'JPEG of long side {LONG_SIDE}, quality 90, to a 256x256 training crop, one thread',
        'milliseconds_per_image': milliseconds,
        'images_per_second_and_worker': {name: 1000 / value for name, value in milliseconds.items()},
        'speedup_ratio': milliseconds['pil'] / milliseconds['auto'],
        'largest_difference_of_255': largest,
        'mean_difference_of_255': mean,
        'flip_on_device_ms_per_image': convert_and_flip(16, args.repeats),
        'device_of_flip': torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
        'versions': {
            'torch': torch.__version__,
            'torchvision': torchvision.__version__,
            'pillow': PIL.__version__,
            'libjpeg-turbo of pillow': features.version('libjpeg_turbo'),
        },
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name, value in milliseconds.items():
        print(f'{name:21s} {value:6.2f} ms  {1000 / value:6.0f} images/s a worker')
    print(f"'auto' is {document['speedup_ratio']:.1f} times faster and differs from PIL by at most {largest} of 255")


if __name__ == '__main__':
    main()
