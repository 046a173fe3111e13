"""A small generator on the codes of a benchmark's run: what its codes cost to predict, and what it draws.

All commands of other packages run in processes of their own: this package knows their names only.
"""

from __future__ import annotations

import functools
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

from fvq_core.autoencoder import Autoencoder
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.files.arrays import read_npz
from fvq_core.files.json import read_json, write_json

from .code_costs import code_costs
from .generator_config import check_generator, write_config
from .generator_data import check_data, crop_options, image_set
from .photo_data import crop_size
from .rows import Row, trainable
from .run import FINISHED, GENERATOR, INTERRUPTED, LOG, BenchmarkRun, failure
from .run_process import FolderBusyError, alone_in
from .sample_distances import SampleDistances
from .slots import Slots

FOLDER, STAGE, CONFIG = 'generator', 'stage.json', 'config.py'
TRAINING_CROPS, VALIDATION_CROPS, SAMPLES = 2000, 500, 256
PROTOCOL = 2  # of the numbers; 1 cut other crops than the tokenizer's
COMMAND = """\
import sys
from fvq_eval.benchmark.run_process import end_with_parent
end_with_parent()
from fvq_core.commands import run_command
sys.exit(run_command(sys.argv[1], sys.argv[2:]))"""


class InterruptedCommandError(Exception):
    """A command was interrupted: nothing is kept of it but what it can continue."""


@dataclass(frozen=True)
class GeneratorStage:
    """What every run's generator gets alike.

    Args:
        steps: Training steps.
        extractor: Config of the network of the kernel distances.
        config: Path of the generator's config; by default the one of configs/generation/small that the codes fit.
    """

    steps: int
    extractor: Mapping[str, Any]
    config: str | None = None

    @functools.cached_property
    def distances(self) -> SampleDistances:
        """The network, built once."""
        return SampleDistances(self.extractor, SAMPLES)

    def check(self, rows: Sequence[Row], log: Callable[[str], None]) -> list[Row]:
        """The rows that get a generator; each of the others gets a line.

        Raises:
            UserError: Data, a network or a config that cannot serve any generator; or no row gets one.
        """
        if self.config is not None:
            load_config(self.config)
        served = []
        for row, cfg in trainable(rows):
            check_data(cfg)
            try:
                check_generator(self.config, row.layout)
                served.append(row)
            except UserError as error:
                log(f'{row.name}: no generator: {error}')
        if not served:
            raise UserError('benchmark: --generator: no row gets one; choose rows with codes that fit it.')
        _ = self.distances  # built now: its weights may be missing
        return served

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
            with alone_in(run.folder):
                self._run(run, env)
        except FolderBusyError as error:
            log(f'{run}: generator: {error}')
            return
        except InterruptedCommandError:
            log(f'{run}: generator: interrupted; call again to continue it')
            return
        except Exception as error:  # the other rows go on
            write_json(run.folder / GENERATOR, {**failure(error), 'stage': self.facts()})
        found = read_json(run.folder / GENERATOR) or {}
        bits = (found.get('metrics') or {}).get('generator_bits_per_image')
        shown = found.get('reason') if bits is None else f'{bits["value"]:.0f} bits per image'
        log(f'{run}: generator: {shown}')

    def facts(self) -> dict[str, Any]:
        """What decides the numbers, JSON-ready."""
        crops = dict(training=TRAINING_CROPS, validation=VALIDATION_CROPS, samples=SAMPLES)
        return dict(
            steps=self.steps, extractor=dict(self.extractor), config=self.config, crops=crops, protocol=PROTOCOL
        )

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
        train, val = (run.cfg[f'{part}_dataloader']['dataset'] for part in ('train', 'val'))
        extract(tokenizer, train, folder / 'codes', TRAINING_CROPS, run.seed, env, ['--flip'])
        extract(tokenizer, val, folder / 'codes_val', VALIDATION_CROPS, run.seed + 1, env)
        autoencoder = Autoencoder.from_pretrained(tokenizer)
        options = {
            **{f'{part}_dataloader.dataset.labels': False for part in ('train', 'val')},
            'train_dataloader.dataset.root': str(folder / 'codes'),
            'val_dataloader.dataset.root': str(folder / 'codes_val'),
            'train_cfg.max_iters': self.steps,
            'randomness.seed': run.seed,
        }
        write_config(folder / CONFIG, self.config, tokenizer, autoencoder, crop_size(val), options)
        call('train', [str(folder / CONFIG), '--work-dir', str(folder / 'run'), '--resume'], env, folder)
        drawn = ['--num', str(SAMPLES), '--batch-size', '64', '--seed', str(run.seed), '--npz']
        drawn += ['--out', str(folder / 'samples')]
        call('sample', [str(folder / 'run/generator'), str(tokenizer), *drawn], env, folder)
        samples = torch.from_numpy(read_npz(folder / 'samples/samples.npz')['arr_0']).permute(0, 3, 1, 2).contiguous()
        weights = f'{run} {FOLDER}/run'
        metrics = {**code_costs(folder, weights), **self.distances.measure(run.cfg, autoencoder, samples)}
        document = {key: {**metric.to_dict(), 'weights': weights} for key, metric in metrics.items()}
        write_json(run.folder / GENERATOR, {'status': FINISHED, 'metrics': document, 'stage': self.facts()})


def extract(
    tokenizer: Path,
    dataset: Any,
    out: Path,
    crops: int,
    seed: int,
    env: Mapping[str, str],
    extra: Sequence[str] = (),
) -> None:
    """Codes of about so many crops of a data set's images, cut as its config cuts them."""
    images = image_set(dataset)
    options = [*crop_options(dataset, images, crops), '--workers', '0', '--seed', str(seed), *extra]
    call('extract_codes', [str(tokenizer), images, str(out), *options], env, out.parent)


def call(name: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
    """A command of FVQ, whose output goes to the folder's log, in a process that ends with this one.

    Raises:
        UserError: It failed, with its last line.
        InterruptedCommandError: It was, by Ctrl-C.
    """
    path = folder / LOG
    streams: Any = dict(stdin=subprocess.PIPE, stderr=subprocess.STDOUT)  # the first is never written to
    command = [sys.executable, '-c', COMMAND, name, *arguments]
    with open(path, 'ab') as log:
        start = log.tell()
        with subprocess.Popen(command, env={**os.environ, **env}, stdout=log, **streams) as process:
            code = process.wait()
    if code in INTERRUPTED:
        raise InterruptedCommandError
    if code:
        lines = path.read_bytes()[start:].decode(errors='replace').splitlines()
        last = next((line for line in reversed(lines) if line.strip()), f'no output, exit code {code}')
        raise UserError(f'{name}: {last.removeprefix("error: ").rstrip(".")}; see {path}.')
