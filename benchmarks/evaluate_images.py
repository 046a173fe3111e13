#!/usr/bin/env python
"""Images per second of `tools/test.py --preset` against its networks alone, on the GPU if there is one.

The bundled photos are saved as JPEGs of ImageNet's usual size, as in extract_codes.py. The tokenizer is that of
`configs/fvq/fvq_photos.py`, folded, with random weights, and so is the Inception network: they cost the same.

    evaluation    the pass of `PresetEvaluator`: reading, cropping, both networks, scores of images, with the start of its
                  workers; what comes once at the end, the distances of whole sets, is left out
    network       the tokenizer, and the features of both sides, by themselves on pixels of the device, in the batches and
                  the precision of the protocol; `share_of_network_rate` is evaluation over network

They take turns; results are medians over the rounds, after one warm-up round.

    python benchmarks/evaluate_images.py --json
    python benchmarks/evaluate_images.py --images 12 --size 64 --network RandomFeatures --workers 0     # a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from extract_codes import DEVICE, write_photos
from torch import Tensor

from fvq_core.config.read import load_config
from fvq_core.data import ImageFolder
from fvq_core.images import from_uint8
from fvq_core.ops.finite import deferred_checks
from fvq_core.registry import FEATURE_EXTRACTORS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.features.feature_extractor import FeatureExtractor
from fvq_eval.reconstruction import PresetEvaluator
from fvq_eval.reconstruction.cropped_files import CroppedFiles, load
from fvq_eval.reconstruction.forward import reconstruct


class OnePass(PresetEvaluator):
    """The pass over the files, without what is computed once at its end."""

    def __init__(self, network: FeatureExtractor, preset: str, size: int) -> None:
        super().__init__([preset], image_size=size)
        self.built = network

    def network(self) -> FeatureExtractor:
        return self.built

    def results(self, metrics: Any, features: Any) -> dict[str, Any]:
        return {}


def crops_of(files: ImageFolder, presets: PresetEvaluator, batch_size: int, workers: int) -> list[Tensor]:
    """The batches of an evaluation, uint8 on the device."""
    crop = presets.declared[0].crop
    return [batch['images'][crop].to(DEVICE) for batch in load(CroppedFiles(files, [crop]), 0, 1, batch_size, workers)]


def rates(ways: dict[str, Callable[[], Any]], images: int, repeats: int) -> dict[str, float]:
    """Images a second of each way, until the device is done."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if DEVICE.type == 'cuda':
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: images / statistics.median(values[1:]) for name, values in seconds.items()}


def measure(tokenizer: Tokenizer, network: FeatureExtractor, files: ImageFolder, args: Any) -> dict[str, Any]:
    """Both rates and their ratio."""
    presets = OnePass(network, args.preset, args.size)
    (preset,), batches = presets.declared, crops_of(files, presets, args.batch_size, args.workers)

    @torch.no_grad()
    def networks() -> None:
        with deferred_checks():
            for pixels in batches:
                images = from_uint8(pixels)
                output = reconstruct(tokenizer, images, args.batch_size)
                for side, original in ((images, True), (output.reconstruction, False)):
                    network(preset.pixels(side, original))

    ways = {
        'evaluation': lambda: presets.evaluate(tokenizer, files, args.batch_size, args.workers),
        'network': networks,
    }
    found = rates(ways, len(files), args.repeats)
    return {'images_per_second': found, 'share_of_network_rate': found['evaluation'] / found['network']}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='llamagen', help='evaluation protocol; default %(default)s')
    parser.add_argument(
        '--network',
        default='InceptionV3',
        choices=('InceptionV3', 'RandomFeatures'),
        help='feature network; default InceptionV3',
    )
    parser.add_argument('--size', type=int, default=256, help='crop size in pixels; default 256')
    parser.add_argument('--images', type=int, default=1024, help='number of JPEG files; default 1024')
    parser.add_argument('--batch-size', type=int, default=32, help='images per batch; default 32')
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        '--workers', type=int, default=min(cores, 12), help='data loader processes; default: one per core, at most 12'
    )
    parser.add_argument(
        '--repeats', type=int, default=2, help='measured rounds, after one warm-up round; default %(default)s'
    )
    parser.add_argument('--json', action='store_true', help='print JSON instead of a line')
    args = parser.parse_args()

    torch.manual_seed(0)
    tokenizer = TOKENIZERS.build(load_config('configs/fvq/fvq_photos.py').model.tokenizer).eval().fold().to(DEVICE)
    random = dict(random=True) if args.network == 'InceptionV3' else {}
    network = FEATURE_EXTRACTORS.build(dict(type=args.network, **random)).to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(tokenizer, network, write_photos(Path(folder), args.images), args)
    document = {
        **{key: value for key, value in vars(args).items() if key != 'json'},
        'device': torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'cpu',
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        **found,
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    ours, networks = found['images_per_second'].values()
    print(f'{ours:.1f} images/s, networks {networks:.1f}: {found["share_of_network_rate"]:.0%} of their rate')


if __name__ == '__main__':
    main()
