#!/usr/bin/env python
"""Train and sample every generator on the bundled photos: one picture with a row each, and a classifier on the samples.

Each `configs/generation/*_photos.py` with a generator is trained on the codes of its own tokenizer, which is trained first;
what is already in `work_dirs/` is used again. Ten classes, one a photo. Prints for each the accuracy of a linear classifier,
trained on random features of real crops, on the classes of its samples, beside its accuracy on other crops and on their
reconstructions by the tokenizer: what a generator of these codes can reach at best. Fails below three times chance.

A few minutes per generator on two cores:

    python benchmarks/sample_all.py                              # or: make sample-all
    python benchmarks/sample_all.py llamagen_photos var_photos
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.commands import run_command
from fvq_core.config.find import config_names
from fvq_core.config.read import read_config_file
from fvq_core.data.photos import PHOTO_NAMES
from fvq_core.errors import UserError
from fvq_core.files.markdown import markdown_table
from fvq_core.images import from_uint8, to_uint8
from fvq_core.zoo import full_name
from fvq_eval.features import RandomFeatures
from fvq_eval.samples.bundled import BundledSamples
from fvq_generators.codes_store import CodesStore
from fvq_generators.image_sets.sample_grid import sample_grid

SIDE, CLASSES, LEAST = 64, len(PHOTO_NAMES), 3 / len(PHOTO_NAMES)
TRAINED_ON = 800  # of the 1,000 bundled crops; the others are for the figures of real crops and reconstructions


@dataclass(frozen=True)
class Pair:
    """A generator's config and its tokenizer's, by name; work dirs are called alike."""

    generator: str
    tokenizer: str
    codes: Path | None  # the store that it trains on; None if it trains on images
    representations: str | None = None  # RCG's, of the same crops


def pairs(names: list[str]) -> list[Pair]:
    """The configs of generators on the bundled photos, all or those named."""
    found = []
    for path in config_names():
        name = Path(path).stem
        if not (path.startswith('configs/generation/') and name.endswith('_photos')) or (names and name not in names):
            continue
        cfg = read_config_file(path)
        if 'generator' not in cfg.model:
            continue
        dataset = cfg.train_dataloader['dataset']
        root = dataset.get('root')
        folder = Path(root or cfg.model['tokenizer']).parent
        found.append(Pair(name, folder.name, Path(root) if root else None, dataset.get('representations')))
    unknown = set(names) - {pair.generator for pair in found}
    if unknown:
        raise SystemExit(f'no config of a generator on the bundled photos is called {", ".join(sorted(unknown))}')
    return found


def run(name: str, *arguments: str) -> None:
    """A command of FVQ. Ends the benchmark if it fails."""
    print(f'$ tools/{name}.py {" ".join(arguments)}', flush=True)
    if code := run_command(name, arguments):
        raise SystemExit(code)


def train(pair: Pair) -> None:
    """What is not there of tokenizer, codes and generator."""
    tokenizer, generator = (Path('work_dirs', name) for name in (pair.tokenizer, pair.generator))
    if not (tokenizer / 'tokenizer/config.json').exists():
        run('train', f'configs/{full_name(pair.tokenizer)}.py')
    crops = ('--size', str(SIDE), '--crops', 'random', '200', '--flip')
    if pair.codes is not None and not is_finished(pair.codes):
        run('extract_codes', str(tokenizer / 'tokenizer'), 'bundled', str(pair.codes), *crops)
    if pair.representations is not None and not is_finished(Path(pair.representations)):
        run('extract_representations', 'test_vit', 'bundled', pair.representations, *crops, '--random')
    if not (generator / 'generator/config.json').exists():
        run('train', f'configs/generation/{pair.generator}.py')


def is_finished(codes: Path) -> bool:
    """Whether a store can be trained on."""
    try:
        CodesStore(codes)
    except UserError:
        return False
    return True


def real_crops() -> tuple[Tensor, Tensor]:
    """The 1,000 bundled crops, uint8 (N, 3, H, W), and the number of the photo of each."""
    bundled = BundledSamples(SIDE)
    return torch.cat(list(bundled.read(range(bundled.blocks)))), torch.from_numpy(bundled.labels_N)


class LinearClassifier:
    """Multinomial logistic regression on standardized random features.

    Args:
        pixels_NCHW: uint8 images.
        labels_N: Their classes.
    """

    def __init__(self, pixels_NCHW: Tensor, labels_N: Tensor) -> None:
        self.extractor = RandomFeatures()
        features_ND = self.features(pixels_NCHW)
        self.mean_D, self.std_D = features_ND.mean(0), features_ND.std(0).clamp(min=1e-6)
        self.linear = nn.Linear(features_ND.shape[1], CLASSES)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        x_ND = (features_ND - self.mean_D) / self.std_D
        optimizer = torch.optim.LBFGS(self.linear.parameters(), max_iter=200, line_search_fn='strong_wolfe')

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = 1e-3 * self.linear.weight.square().sum()
            loss = nn.functional.cross_entropy(self.linear(x_ND), labels_N) + penalty
            loss.backward()
            return loss

        optimizer.step(closure)

    def features(self, pixels_NCHW: Tensor) -> Tensor:
        """(N, D)."""
        found = self.extractor(pixels_NCHW)
        return torch.cat([found['pool'], found['spatial']], dim=1)

    @torch.no_grad()
    def accuracy(self, pixels_NCHW: Tensor, labels_N: Tensor) -> float:
        """The share of images whose likeliest class is theirs."""
        x_ND = (self.features(pixels_NCHW) - self.mean_D) / self.std_D
        return (self.linear(x_ND).argmax(1) == labels_N).double().mean().item()


@torch.no_grad()
def reconstructed(folder: str, pixels_NCHW: Tensor) -> Tensor:
    """What a tokenizer makes of images."""
    tokenizer = Autoencoder.from_pretrained(folder)
    return torch.cat([to_uint8(tokenizer(from_uint8(part)).reconstruction) for part in pixels_NCHW.split(50)])


def picture(rows: list[tuple[str, np.ndarray, np.ndarray]]) -> Image.Image:
    """One sample of each class a column, one generator a row, with its name."""
    grid = sample_grid(
        [[images[np.flatnonzero(labels == label)[0]] for label in range(CLASSES)] for _, images, labels in rows]
    )
    margin, height = 130, grid.height // len(rows)
    canvas = Image.new('RGB', (grid.width + margin, grid.height), 'white')
    canvas.paste(grid, (margin, 0))
    draw = ImageDraw.Draw(canvas)
    for number, (name, _, _) in enumerate(rows):
        draw.text((6, number * height + height // 2 - 6), name, fill='black')
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='config names, such as var_photos; default all')
    parser.add_argument(
        '--num', type=int, default=200, help='samples per generator, cycling through ten classes; default 200'
    )
    parser.add_argument(
        '--out', default='work_dirs/sample_all', help='output folder for samples and samples.png; default %(default)s'
    )
    args = parser.parse_args()
    if args.num < CLASSES:
        parser.error(f'--num must be {CLASSES} or more, one of each class, got {args.num}')
    pixels, labels = real_crops()
    classifier = LinearClassifier(pixels[:TRAINED_ON], labels[:TRAINED_ON])
    others, their_labels = pixels[TRAINED_ON:], labels[TRAINED_ON:]
    real = classifier.accuracy(others, their_labels)
    table: list[list[Any]] = []
    rows, poor = [], []
    for pair in pairs(args.names):
        train(pair)
        tokenizer, out = f'work_dirs/{pair.tokenizer}/tokenizer', Path(args.out, pair.generator)
        generator = f'work_dirs/{pair.generator}/generator'
        run('sample', generator, tokenizer, '--num', str(args.num), '--npz', '--out', str(out))
        with np.load(out / 'samples.npz') as file:
            images, classes = file['arr_0'], file['arr_1']
        accuracy = classifier.accuracy(
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(classes)
        )
        if accuracy < LEAST:
            poor.append(pair.generator)
        at_best = classifier.accuracy(reconstructed(tokenizer, others), their_labels)
        rows.append((pair.generator.removesuffix('_photos'), images, classes))
        table.append([pair.generator, pair.tokenizer, f'{accuracy:.0%}', f'{at_best:.0%}', f'{real:.0%}'])
    head = ['generator', 'tokenizer', 'samples', 'reconstructions', 'real crops']
    print(markdown_table(head, table))
    path = Path(args.out, 'samples.png')
    picture(rows).save(path)
    print(f'accuracy on classes, chance 10%; {path}: a row each, {", ".join(name for name, _, _ in rows)}')
    if poor:
        raise SystemExit(f'below three times chance: {", ".join(poor)}')


if __name__ == '__main__':
    main()
