#!/usr/bin/env python
"""Images per second of code extraction, against encoding one crop or one image at a time with one file each.

The bundled photos are saved as JPEGs of ImageNet's usual size (long side 500, quality 90). The tokenizer is that of
`configs/fvq/fvq_photos.py`, folded, with random weights: they cost the same. The crops and the codes are the same in all
ways, which is checked. The two others prepare pixels as released scripts do (PIL crops, a float tensor of each), and
write one .npy of codes and one of the label for each image:

    one crop at a time     every crop is encoded by itself
    one image at a time    the crops of an image are encoded together, as the released script does
    store                  `extract_codes`: reading, encoding and writing, with the start of its workers
    network                the encoder by itself, on pixels of the device; `share_of_network_rate` is store over network

The variants take turns; results are medians over the rounds. On a machine with other work, look at the CPU seconds too: other
processes do not affect them, but they do not show the gain from a second core.

    python benchmarks/extract_codes.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import TenCrop
from torchvision.transforms.functional import normalize, to_tensor

from fvq_core.config.read import load_config
from fvq_core.data import ADMCenterCrop, ImageFolder
from fvq_core.data.photos import load_photos
from fvq_core.data.sample import sample_rng
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_generators.codes_store import CodesStore
from fvq_generators.extraction.extract_codes import extract_codes
from fvq_generators.extraction.multi_crop import parse_crops
from fvq_generators.extraction.shard_reader import encode_crops

LONG_SIDE, CROP_RANGE = 500, 1.1
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
KINDS = {'ten': ('ten', False), 'center and mirror image': ('center', True), 'center': ('center', False)}  # crops, flip


def write_photos(folder: Path, count: int) -> ImageFolder:
    """JPEG files of the photos, each again until there are enough, in one folder a photo."""
    photos = load_photos()
    for number in range(count):
        name = list(photos)[number % len(photos)]
        image = Image.fromarray(photos[name])
        image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        (folder / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / name / f'{number}.jpg', quality=90)
    return ImageFolder(str(folder))


def crops_of(path: str, kind: str, size: int) -> Tensor:
    """The crops of an image as floats in [-1, 1], (A, 3, size, size)."""
    with Image.open(path) as opened:
        image = opened.convert('RGB')
    if kind == 'ten':
        views = TenCrop(size)(ADMCenterCrop(int(size * CROP_RANGE))(image, sample_rng(0, 0)))
    else:
        crop = ADMCenterCrop(size)(image, sample_rng(0, 0))
        views = (crop, crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[: 1 + KINDS[kind][1]]
    return torch.stack([normalize(to_tensor(view), [0.5] * 3, [0.5] * 3) for view in views])


@torch.inference_mode()
def one_file_each(tokenizer: Tokenizer, images: ImageFolder, out: Path, kind: str, size: int, together: bool) -> None:
    """Codes and labels, a file each for every image."""
    for folder in ('codes', 'labels'):
        (out / folder).mkdir(parents=True)
    for number in range(len(images)):
        views = crops_of(images.name(number), kind, size)
        parts = views.to(DEVICE).split(len(views) if together else 1)
        codes = [tokenizer.encode(part).indices_BL.cpu() for part in parts]
        np.save(out / f'codes/{number}.npy', torch.cat(codes)[None].numpy())
        np.save(out / f'labels/{number}.npy', np.array([images.label(number)]))


def cpu_seconds() -> float:
    """What this process and its finished children have spent."""
    return sum(os.times()[:4])


def agreement(one: Path, store: Path) -> float:
    """Share of codes that two ways gave alike; sums in another order may decide a near tie otherwise."""
    read = CodesStore(store)
    same = [
        (torch.from_numpy(np.load(one / f'codes/{number}.npy')[0]) == read.all_codes(number)).float().mean().item()
        for number in range(len(read))
    ]
    return statistics.mean(same)


def measure(tokenizer: Tokenizer, images: ImageFolder, folder: Path, kind: str, args: Any) -> dict[str, Any]:
    """Images a second of each way."""
    crop, flip = KINDS[kind]
    crops = parse_crops([crop], args.size, flip=flip)

    def store(out: Path) -> None:
        options = dict(batch_size=args.batch_size, num_workers=args.workers, device=DEVICE, log=lambda line: None)
        extract_codes(tokenizer, images, out, crops, names=dict(tokenizer='', source=''), **options)

    def plain(together: bool) -> Callable[[Path], None]:
        return lambda out: one_file_each(tokenizer, images, out, kind, args.size, together)

    def network(out: Path) -> None:
        shape = (len(images) * crops.count, 3, args.size, args.size)
        for codes in encode_crops(tokenizer, torch.zeros(shape, dtype=torch.uint8, device=DEVICE), args.batch_size):
            last = codes
        last.cpu()

    ways = {'one crop at a time': plain(False), 'one image at a time': plain(True), 'store': store, 'network': network}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats + 1):
        for name, way in ways.items():
            out = folder / name
            shutil.rmtree(out, ignore_errors=True)
            start, spent = time.perf_counter(), cpu_seconds()
            way(out)
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - spent)
    rates = {
        name: len(images) / statistics.median(values[1:]) for name, values in seconds.items()
    }  # after a first round
    return {
        'images_per_second': rates,
        'ratio_to_one_crop_at_a_time': rates['store'] / rates['one crop at a time'],
        'ratio_to_one_image_at_a_time': rates['store'] / rates['one image at a time'],
        'share_of_network_rate': rates['store'] / rates['network'],
        'cpu_milliseconds_per_image': {
            name: 1000 * statistics.median(values[1:]) / len(images) for name, values in cpu.items()
        },
        'encodes_of_an_image': crops.count,
        'same_codes': agreement(folder / 'one image at a time', folder / 'store'),
        'files': {name: sum(path.is_file() for path in (folder / name).rglob('*')) for name in ways},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=64, help='crop size in pixels; default 64')
    parser.add_argument('--images', type=int, default=400, help='number of JPEG files; default 400')
    parser.add_argument(
        '--batch-size', type=int, default=64, help='crops per forward pass of the store; default %(default)s'
    )
    parser.add_argument(
        '--workers', type=int, default=1, help='data loader processes of the store; default %(default)s'
    )
    parser.add_argument(
        '--repeats', type=int, default=2, help='measured rounds, after one warm-up round; default %(default)s'
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args()

    torch.manual_seed(0)
    tokenizer = TOKENIZERS.build(load_config('configs/fvq/fvq_photos.py').model.tokenizer).eval().fold().to(DEVICE)
    document: dict[str, Any] = {
        'task': f'JPEGs of long side {LONG_SIDE} to codes of {args.size}x{args.size} crops, tokenizer of fvq_photos.py',
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'workers': args.workers,
        'batch_size': args.batch_size,
        'torch': torch.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        images = write_photos(Path(folder, 'photos'), args.images)
        for kind in KINDS:
            document[kind] = measure(tokenizer, images, Path(folder, kind), kind, args)
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for kind in KINDS:
        found = document[kind]
        print(f'{kind}: {found["encodes_of_an_image"]} encodes an image, {found["same_codes"]:.2%} of codes the same')
        for name, rate in found['images_per_second'].items():
            print(f'  {name:20s} {rate:7.1f} images/s, {found["files"][name]} files')
        print(
            f'  the store is {found["ratio_to_one_crop_at_a_time"]:.1f} times faster than one crop at a time, '
            f'{found["ratio_to_one_image_at_a_time"]:.1f} times faster than one image at a time'
        )


if __name__ == '__main__':
    main()
