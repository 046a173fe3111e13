"""A small generator on the codes of a benchmark's run: what its codes cost to predict, and what it draws.

All commands of other packages run in processes of their own: this package knows their names only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Codes, Pyramid
from fvq_core.config.data import config_text
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.files.arrays import read_npz
from fvq_core.files.json import read_json, read_json_object, write_json
from fvq_core.images import from_uint8, to_uint8
from fvq_core.metric import MetricValue
from fvq_core.registry import DATASETS, FEATURE_EXTRACTORS

from ..distances.kernel import kernel_distance_of_all
from ..samples.bundled import BUNDLED
from ..samples.open_samples import open_samples
from .photo_data import crop_size, is_bundled
from .run import FINISHED, GENERATOR, INTERRUPTED, BenchmarkRun, failure
from .slots import Slots

FOLDER, STAGE = 'generator', 'stage.json'
CONFIGS = {'one': 'llamagen', 'several': 'rq_transformer', 'scales': 'var'}  # of configs/generation/small
TRAINING_CROPS, VALIDATION_CROPS, SAMPLES = 2000, 500, 256
COMMAND = 'import sys; from fvq_core.commands import run_command; sys.exit(run_command(sys.argv[1], sys.argv[2:]))'


class InterruptedCommandError(Exception):
    """A command was interrupted: nothing is kept of it but what it can continue."""


@dataclass(frozen=True)
class GeneratorStage:
    """What every run's generator gets alike.

    Args:
        steps: Training steps.
        extractor: Config of the network of the kernel distances.
    """

    steps: int
    extractor: Mapping[str, Any]

    def run_all(
        self, runs: Sequence[BenchmarkRun], slots: Sequence[dict[str, str]], log: Callable[[str], None]
    ) -> None:
        """`run` for each, one in each slot at a time."""
        places = Slots(slots)

        def work(run: BenchmarkRun) -> None:
            with places.take() as slot:
                self.run(run, slot, log)

        with ThreadPoolExecutor(places.count) as pool:
            try:
                for done in [pool.submit(work, run) for run in runs]:
                    done.result()
            except BaseException:  # the processes of this terminal get the same signal; nothing new is started
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def run(self, run: BenchmarkRun, env: Mapping[str, str], log: Callable[[str], None]) -> None:
        """Train and measure, unless that was done before with the same settings; what fails is this run's failure only."""
        if not run.finished or self.result(run) is not None:
            return
        try:
            self._run(run, env)
        except InterruptedCommandError:
            log(f'{run}: generator: interrupted; the same call goes on with it')
            return
        except Exception as error:  # the other rows go on
            write_json(run.folder / GENERATOR, {**failure(error), 'stage': self.facts()})
        found = read_json(run.folder / GENERATOR) or {}
        bits = (found.get('metrics') or {}).get('generator_bits_per_image')
        shown = found.get('reason') if bits is None else f'{bits["value"]:.0f} bits an image'
        log(f'{run}: generator: {shown}')

    def facts(self) -> dict[str, Any]:
        """What decides the numbers, JSON-ready."""
        return dict(steps=self.steps, extractor=dict(self.extractor))

    def result(self, run: BenchmarkRun) -> dict[str, Any] | None:
        """What was measured of a run; None if nothing was, or with other settings."""
        found = read_json(run.folder / GENERATOR)
        finished = found is not None and found.get('status') == FINISHED and found.get('stage') == self.facts()
        return found if finished else None

    def _run(self, run: BenchmarkRun, env: Mapping[str, str]) -> None:
        tokenizer, folder = run.folder / 'tokenizer', run.folder / FOLDER
        if folder.exists() and read_json(folder / STAGE) != self.facts():
            shutil.rmtree(folder)  # of another number of steps
        folder.mkdir(exist_ok=True)
        write_json(folder / STAGE, self.facts())
        size = crop_size(run.cfg.val_dataloader['dataset'])
        training, validation = (image_sets(run.cfg[f'{part}_dataloader']['dataset']) for part in ('train', 'val'))
        extract(tokenizer, training, folder / 'codes', size, TRAINING_CROPS, run.seed, env, folder, flip=True)
        extract(tokenizer, validation, folder / 'codes_val', size, VALIDATION_CROPS, run.seed + 1, env, folder)
        autoencoder = Autoencoder.from_pretrained(tokenizer)
        config = write_config(autoencoder, run, self.steps)
        call('train', [str(config), '--work-dir', str(folder / 'run'), '--resume'], env, folder)
        drawn = [
            '--num',
            str(SAMPLES),
            '--npz',
            '--out',
            str(folder / 'samples'),
            '--batch-size',
            '64',
            '--seed',
            str(run.seed),
        ]
        call('sample', [str(folder / 'run/generator'), str(tokenizer), *drawn], env, folder)
        weights = f'{run} {FOLDER}/run'
        metrics = {**code_costs(folder, weights), **self.distances(autoencoder, folder, validation, size, weights)}
        document = {key: {**metric.to_dict(), 'weights': weights} for key, metric in metrics.items()}
        write_json(run.folder / GENERATOR, {'status': FINISHED, 'metrics': document, 'stage': self.facts()})

    @torch.no_grad()
    def distances(
        self, autoencoder: Autoencoder, folder: Path, images: str, size: int, weights: str
    ) -> dict[str, MetricValue]:
        """Kernel distances of samples, of reconstructions and of other real crops from real crops."""
        extractor = FEATURE_EXTRACTORS.build(dict(self.extractor))
        crop = dict(type='ADMCenterCrop', size=size, upsample=True)
        source = open_samples(images, convert=True, crop=crop)
        pixels = torch.cat(
            [block for _, block in zip(range(2 * SAMPLES // 64), source.read(range(source.blocks)), strict=False)]
        )
        reference, other = pixels[0::2], pixels[1::2]
        made = torch.cat([to_uint8(autoencoder(from_uint8(part)).reconstruction) for part in other.split(32)])
        samples = torch.from_numpy(read_npz(folder / 'samples/samples.npz')['arr_0']).permute(0, 3, 1, 2).contiguous()
        reference_ND = extractor(reference)['pool']
        protocol = (
            f'squared MMD, polynomial kernel of degree 3, {extractor.name} features ({extractor.provenance}), unbiased'
        )

        def value(found: Tensor) -> MetricValue:
            distance = kernel_distance_of_all(reference_ND, extractor(found)['pool'])
            return MetricValue(distance, '', f'{protocol}, against {len(reference)} real crops', len(found))

        return dict(kid_of_samples=value(samples), kid_of_reconstructions=value(made), kid_of_real=value(other))


def image_sets(dataset: Any) -> str:
    """What a data set's config reads, as commands take it."""
    return BUNDLED if is_bundled(dataset) else str(dataset['root'])


def extract(
    tokenizer: Path,
    images: str,
    out: Path,
    size: int,
    crops: int,
    seed: int,
    env: Mapping[str, str],
    folder: Path,
    flip: bool = False,
) -> None:
    """Codes of about so many crops of a set of images."""
    count = len(open_samples(images, crop=dict(type='ADMCenterCrop', size=size, upsample=True)))
    each = max(1, crops // (10 if images == BUNDLED else count))
    options = ['--size', str(size), '--crops', 'random', str(each), '--upsample', '--workers', '0', '--seed', str(seed)]
    call('extract_codes', [str(tokenizer), images, str(out), *options, *['--flip'] * flip], env, folder)


def write_config(autoencoder: Autoencoder, run: BenchmarkRun, steps: int) -> Path:
    """The config of the generator that these codes fit."""
    folder = run.folder / FOLDER
    size = crop_size(run.cfg.val_dataloader['dataset'])
    layout = autoencoder.layout(size, size)
    if not isinstance(layout, CodeLayout):
        raise UserError('a continuous autoencoder has no codes to predict.')
    kind = 'scales' if isinstance(layout.positions, Pyramid) else 'several' if layout.slots > 1 else 'one'
    options: dict[str, Any] = {
        'model.generator.layout': layout.to_dict(),
        'train_dataloader.dataset.root': str(folder / 'codes'),
        'train_dataloader.dataset.labels': False,
        'val_dataloader.dataset.root': str(folder / 'codes_val'),
        'val_dataloader.dataset.labels': False,
        'train_cfg.max_iters': steps,
        'randomness.seed': run.seed,
    }
    if kind != 'one':
        quantizer = autoencoder.require_quantizer('benchmark')
        options |= {'model.tokenizer': str(run.folder / 'tokenizer'), 'model.generator.code_dim': quantizer.code_dim}
    cfg = load_config(f'configs/generation/small/{CONFIGS[kind]}.py', options)
    path = folder / 'config.py'
    path.write_text(config_text(cfg.to_dict()))
    return path


def call(name: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
    """A command of FVQ, whose output goes to the folder's log.

    Raises:
        UserError: It failed, with its last line.
        InterruptedCommandError: It was, by Ctrl-C.
    """
    done = subprocess.run(
        [sys.executable, '-c', COMMAND, name, *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with open(folder / 'log.txt', 'a') as log:
        log.write(done.stdout)
    if done.returncode in INTERRUPTED:
        raise InterruptedCommandError
    if done.returncode:
        last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), 'nothing was printed')
        raise UserError(f'{name}: {last.removeprefix("error: ").rstrip(".")}; see {folder / "log.txt"}.')


def code_costs(folder: Path, weights: str) -> dict[str, MetricValue]:
    """Bits an image of the validation codes: of the generator, of the unigram code, and the gain in per cent.

    The unigram code gives each value of a slot, and of a scale, its share among the training codes, with one half added to
    each count (Krichevsky and Trofimov, 1981).
    """
    metrics = read_json_object(folder / 'run/metrics.json')['metrics']
    bits, samples = metrics['val_bits_per_image']['value'], metrics['val_bits_per_image']['samples']
    train, validation = (
        DATASETS.build(dict(type='CodesDataset', root=str(folder / name), every_crop=True))
        for name in ('codes', 'codes_val')
    )
    layout = train.layout
    groups = group_of_each_code(layout)
    counts = torch.full((int(groups.max()) + 1, layout.vocab_size), 0.5, dtype=torch.float64)
    for slot, size in enumerate(layout.vocabularies if layout.slots > 1 else ()):
        counts[slot, size:] = 0.0
    for codes in batches(train):
        counts.index_put_(
            (groups.expand_as(codes.indices_BL), codes.indices_BL), torch.ones(()).double(), accumulate=True
        )
    log2_GK = (counts / counts.sum(1, keepdim=True)).log2()
    total = sum(
        -log2_GK[groups.expand_as(codes.indices_BL), codes.indices_BL].sum().item() for codes in batches(validation)
    )
    unigram = total / len(validation)
    of_codes = 'the codes of the validation crops'
    return dict(
        generator_bits_per_image=MetricValue(bits, 'bits', f'negative log2-likelihood of {of_codes}', samples),
        unigram_bits_per_image=MetricValue(unigram, 'bits', f'{of_codes} under the shares of training codes', samples),
        generator_gain=MetricValue(100 * (1 - bits / unigram), '%', 'bits saved over the unigram code', samples),
    )


def group_of_each_code(layout: CodeLayout) -> Tensor:
    """The number of the unigram that each of the L codes is of: one for each scale, or for each slot."""
    if isinstance(layout.positions, Pyramid):
        lengths = torch.tensor(layout.positions.lengths)
        return torch.arange(len(lengths)).repeat_interleave(lengths)
    return torch.arange(layout.length) % layout.slots


def batches(dataset: Any, size: int = 256) -> Any:
    """The codes of a data set."""
    for start in range(0, len(dataset), size):
        items = [dataset[number] for number in range(start, min(start + size, len(dataset)))]
        broken = next((item['error'] for item in items if 'error' in item), None)
        if broken is not None:
            raise UserError(broken)
        yield Codes(torch.stack([item['codes'] for item in items]), dataset.layout)
