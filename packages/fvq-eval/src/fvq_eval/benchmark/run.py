"""One training run of a benchmark: its folder, its config, its result."""

from __future__ import annotations

import copy
import hashlib
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from fvq_core.config.data import plain_values
from fvq_core.errors import UserError
from fvq_core.files.json import read_json, write_json
from fvq_core.ops.meeting import STOPPED
from fvq_core.registry import METRICS, component_name, plain

RUNS, REQUEST, PLAN, RESULT, LOG = 'runs', 'request.json', 'plan.json', 'result.json', 'log.txt'
GENERATOR = 'generator.json'
MEMORY_SHARE = 'FVQ_GPU_MEMORY_SHARE'  # environment variable: the share of the GPU's memory that a run may allocate
FINISHED, FAILED, OTHER = 'finished', 'failed', 'of another config'
# Exit codes of a process that Ctrl-C or a scheduler ended; nothing is kept of it but its checkpoints.
INTERRUPTED = (130, STOPPED, -signal.SIGINT, -signal.SIGTERM, -signal.SIGUSR1)
# Metrics that the report needs of every run; added if a config lacks them.
REPORTED = ('CodebookUsage', 'CodeBits', 'PSNR', 'SSIM', 'QuantizationError', 'ProjectorCost')


@dataclass
class BenchmarkRun:
    """A row with a learning-rate factor and a seed.

    Attributes:
        factor: On the config's learning rate.
        seed: Seed of start values and data order.
        cfg: The row's config; the run's own is made from it by `run_config`.
        has_codes: Whether its autoencoder has codes, which some metrics are about.
    """

    row: str
    factor: float
    seed: int
    folder: Path
    source: str
    cfg: Config
    has_codes: bool = True

    def __str__(self) -> str:
        return f'{self.row} lr x{self.factor:g} seed {self.seed}'

    def result(self) -> dict[str, Any] | None:
        """What the run left, with what was measured of its generator; None before it ended."""
        found = read_json(self.folder / RESULT)
        generator = (read_json(self.folder / GENERATOR) or {}).get('metrics')
        if found is None or not generator or 'metrics' not in found:
            return found
        return {**found, 'metrics': {**found['metrics'], **generator}}

    @property
    def generator_failure(self) -> str:
        """Why it has no numbers of a generator although they were asked for; else ''."""
        return (read_json(self.folder / GENERATOR) or {}).get('reason', '')

    @property
    def jobs(self) -> int | None:
        """How many runs went on at a time, this one included; None if it was not prepared."""
        return (read_json(self.folder / REQUEST) or {}).get('jobs')

    @property
    def finished(self) -> bool:
        """Whether it need not be run again."""
        return is_finished(self.folder)


def is_finished(folder: Path) -> bool:
    """Whether the run of a folder need not be run again."""
    return (read_json(folder / RESULT) or {}).get('status') == FINISHED


def run_folder(work_dir: Path, row: str, factor: float, seed: int) -> Path:
    """Work dir of a run."""
    return work_dir / RUNS / row / f'lr{factor:g}' / f'seed{seed}'


def run_config(run: BenchmarkRun, extra_metrics: list[dict[str, Any]]) -> Config:
    """The row's config with the run's rate and seed, and with what the report needs."""
    cfg = copy.deepcopy(run.cfg)
    cfg.randomness = dict(seed=run.seed)
    cfg.optim_wrapper.optimizer.lr = cfg.optim_wrapper.optimizer.lr * run.factor
    evaluator = list(cfg.get('val_evaluator') or ())
    present = {component_name(m['type']) if isinstance(m['type'], type) else m['type'] for m in evaluator}
    reported = [name for name in REPORTED if run.has_codes or not METRICS.resolve(name).needs_codes]
    wanted = [*(dict(type=name) for name in reported), *extra_metrics]
    cfg.val_evaluator = [*evaluator, *(ConfigDict(metric) for metric in wanted if metric['type'] not in present)]
    interval = (cfg.default_hooks.get('training_log') or {}).get('interval', 10)
    cfg.default_hooks.update(per_image=dict(type='PerImageHook'))
    if run.has_codes:
        cfg.default_hooks.update(latent_error=dict(type='LatentErrorHook', interval=interval))
    cfg.default_hooks.checkpoint['max_keep'] = 2
    cfg.work_dir = str(run.folder)
    return cfg


def fingerprint(cfg: Config) -> str:
    """Changes with anything that changes what a run trains."""
    entries = {key: value for key, value in plain(cfg.to_dict()).items() if key not in ('work_dir', 'paper')}
    entries['train_dataloader'].pop('on_device', None)  # the crops are the same
    return hashlib.sha256(json.dumps(entries, sort_keys=True, default=str).encode()).hexdigest()[:16]


def failure(error: Exception) -> dict[str, Any]:
    """The result of a run that an error ended: one line, with the error's class unless it is a `UserError`."""
    reason = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    return {'status': FAILED, 'reason': ' '.join(reason.split())}


def holds_another(run: BenchmarkRun, extra_metrics: list[dict[str, Any]]) -> bool:
    """Whether its folder holds a run of another config."""
    request = read_json(run.folder / REQUEST)
    return request is not None and request.get('fingerprint') != fingerprint(run_config(run, extra_metrics))


def prepare(run: BenchmarkRun, extra_metrics: list[dict[str, Any]], jobs: int = 1) -> None:
    """Write what the process of the run reads, and how many runs go on at a time, which its speed depends on."""
    cfg = run_config(run, extra_metrics)
    run.folder.mkdir(parents=True, exist_ok=True)
    write_json(run.folder / PLAN, plain_values(cfg.to_dict()))
    request = dict(config=run.source, row=run.row, factor=run.factor, seed=run.seed, jobs=jobs)
    request |= dict(fingerprint=fingerprint(cfg), started=time.time())
    write_json(run.folder / REQUEST, request)
