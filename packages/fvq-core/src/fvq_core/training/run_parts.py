"""What a run is made of, built and checked before anything is written: a bad config costs one line and no folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.dist import sync_random_seed
from mmengine.hooks import Hook
from mmengine.runner import Priority, get_priority
from mmengine.runner.utils import set_random_seed

from ..config.data import config_data
from ..data.loader import Loader, build_loader
from ..errors import UserError, nearest_hint, user_errors
from ..metric import Metric, check_metrics
from ..ops.data_parallel import check_options
from ..ops.distributed import choose_device
from ..ops.optimizer_step import check_step
from ..registry import HOOKS, LOOPS, METRICS, MODELS, VISUALIZER_BACKENDS, VISUALIZERS
from .checkpoint import list_checkpoints
from .optim_wrapper import build_optim_wrappers
from .schedules.build_schedulers import build_schedulers
from .start_weights import StartWeights, find_start_weights
from .tasks.task import Task
from .train_loop import check_length

# The hooks of every run; `default_hooks` of a config replaces them by name, or leaves them out with None.
STANDARD_HOOKS: dict[str, Any] = dict(
    param_scheduler=dict(type='ParamSchedulerHook'), checkpoint=dict(type='CheckpointHook')
)
# Hooks of mmengine that do not work with this Runner, and what replaces them.
REPLACED_HOOKS = {
    'CheckpointHook': "write type='CheckpointHook' with interval and max_keep",
    'EMAHook': "write type='EMAHook' with decay",
    'LoggerHook': 'TrainingLogHook and ProgressHook log',
    'RuntimeInfoHook': 'TrainingLogHook logs losses and learning rates',
    'EarlyStoppingHook': 'a run has the length that its schedule was made for; resume a checkpoint with another max_iters',
    'NaiveVisualizationHook': 'ReportHook saves reconstructions',
    'PrepareTTAHook': 'evaluation uses each image once',
}


@dataclass(frozen=True)
class RunParts:
    """What `build_run_parts` builds of a config, each part once."""

    task: Task  # with its initial weights, on the CPU
    randomness: dict[str, Any]  # the config's, with a seed drawn at random if it has none
    hooks: list[Hook]  # in the order in which they are registered
    train_loader: Loader
    val_loader: Loader | None  # None if the run evaluates nothing
    metrics: list[Metric]
    start: StartWeights | None  # None without `load_from`, or if the run is to be resumed


def build_run_parts(cfg: Config) -> RunParts:
    """Build everything that a run needs, and try what is only used later; the process group must have been joined."""
    with user_errors('this config cannot be used'):
        check_entries(cfg, ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'))
        check_loops(cfg)
        if Path(cfg.work_dir).is_file():
            raise UserError(f'the work dir {cfg.work_dir} is a file; choose another with --work-dir.')
        randomness = {**cfg.randomness}
        if randomness.get('seed') is None:
            randomness['seed'] = sync_random_seed()
        seed = set_random_seed(**randomness)
        task: Task = MODELS.build(cfg.model)  # the first to draw random numbers
        try_optimization(cfg, list(task.parts()))
        default_hooks = {**STANDARD_HOOKS, **(cfg.get('default_hooks') or {})}.values()
        hooks = [build_hook(hook) for hook in (*default_hooks, *(cfg.get('custom_hooks') or ())) if hook is not None]
        start = None
        resumes = isinstance(cfg.get('resume'), str) or (cfg.get('resume') and list_checkpoints(cfg.work_dir))
        if cfg.get('load_from') and not resumes:
            start = find_start_weights(task, cfg.load_from, cfg.get('load_weights'), cfg.get('load_fresh') or ())
        validates = cfg.get('val_cfg') is not None
        metrics = build_metrics(cfg, task) if validates else []
        train_loader = build_checked_loader(cfg, 'train_dataloader', seed, task)
        task.check_dataset(train_loader.dataset)
        val_loader = build_checked_loader(cfg, 'val_dataloader', seed, task) if validates else None
        return RunParts(task, randomness, hooks, train_loader, val_loader, metrics, start)


def check_entries(cfg: Config, required: Sequence[str]) -> None:
    """Raise if a top-level entry is missing or cannot be kept with a run, or if the device is not there."""
    for name in required:
        if not cfg.get(name):
            raise UserError(f"the config has no '{name}'; start from one of configs/, for example with base = '...'.")
    config_data(cfg.to_dict())
    choose_device(cfg.get('device', 'auto'))
    check_options(cfg.get('ddp') or {})


def check_loops(cfg: Config) -> None:
    """Raise if a loop or visualizer is not registered, or if the length of the run is missing or invalid."""
    names = ('max_iters', 'max_epochs', 'accumulate', 'val_interval')
    check_length(**{name: cfg.train_cfg[name] for name in names if name in cfg.train_cfg})
    LOOPS.resolve(cfg.train_cfg.get('type', 'TrainLoop'))
    if cfg.get('val_cfg') is not None:
        LOOPS.resolve(cfg.val_cfg.get('type', 'EvaluationLoop'))
    visualizer = cfg.get('visualizer') or {}
    VISUALIZERS.resolve(visualizer.get('type', 'Visualizer'))
    for backend in visualizer.get('vis_backends') or ():
        VISUALIZER_BACKENDS.resolve(backend.get('type', ''))


def try_optimization(cfg: Config, parts: Sequence[str]) -> None:
    """Take a step of the optimizers and schedulers on stand-in parameters.

    The real ones are built when the model is on its device and the length of the run is known; some check their arguments
    only when they step.
    """
    stand_in = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Linear(1, 1))
    unnamed: dict[str, Any] = dict(paramwise_cfg=None)  # which may name parameters, and only the real ones have names
    special = {name: {**changes, **unnamed} for name, changes in (cfg.optim_wrapper.get('parts') or {}).items()}
    config = {**cfg.optim_wrapper, **unnamed, 'parts': special}
    optimizers = build_optim_wrappers(config, dict.fromkeys(parts, stand_in))
    for wrapper in optimizers.values():
        check_step(wrapper.optimizer)
    if cfg.get('param_scheduler') is not None:
        # Any length does as long as the size of the data set is unknown.
        total_iters = cfg.train_cfg.get('max_iters') or 10**9
        built = build_schedulers(cfg.param_scheduler, dict(optimizers.items()), total_iters, iters_per_epoch=1000)
        for scheduler in itertools.chain(*built.values()):
            scheduler.step()


def build_hook(config: Mapping[str, Any]) -> Hook:
    """A hook that works with this Runner, with the priority of its config if that has one."""
    hook = HOOKS.build({key: value for key, value in config.items() if key != 'priority'})
    for kind in type(hook).__mro__:
        if kind.__module__.startswith('mmengine.hooks.') and kind.__name__ in REPLACED_HOOKS:
            reason = REPLACED_HOOKS[kind.__name__]
            raise UserError(f"mmengine's {kind.__name__} does not work with this Runner; {reason}.")
    if 'priority' in config:
        hook.priority = config['priority']
        if isinstance(hook.priority, str) and hook.priority.upper() not in Priority.__members__:
            hint = nearest_hint(hook.priority, Priority.__members__)
            raise UserError(f"{type(hook).__name__}: unknown priority '{hook.priority}'; {hint}")
        get_priority(hook.priority)  # raises for numbers out of range
    return hook


def build_metrics(cfg: Config, task: Task) -> list[Metric]:
    """The metrics of `val_evaluator`; raises if one needs codes, and the task's autoencoder has none."""
    metrics = [METRICS.build(metric) for metric in cfg.get('val_evaluator') or ()]
    check_metrics(metrics, task.autoencoder())
    return metrics


def build_checked_loader(cfg: Config, name: str, seed: int, task: Task) -> Loader:
    """`train_dataloader` or `val_dataloader` of a config; raises if it is missing or empty, or its first image does not fit."""
    if cfg.get(name) is None:
        raise UserError(f'the config has no {name}.')
    loader = build_loader(cfg[name], seed, name == 'train_dataloader', cfg.get('device', 'auto'))
    if len(cast(Sized, loader.dataset)) == 0:
        raise UserError(f'{name}: the dataset is empty.')
    batch: Mapping[str, Any] = loader.collate_fn([loader.dataset[0]])
    if batch.get('error'):
        raise UserError(f'{name}: {batch["error"]}')
    images, autoencoder = batch.get('images'), task.autoencoder()
    if images is not None and autoencoder is not None:
        try:
            autoencoder.layout(*images.shape[2:])
        except UserError as error:
            raise UserError(f'{name}: {error}') from None
    return loader
