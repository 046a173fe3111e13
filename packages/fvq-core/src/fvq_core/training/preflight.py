"""What is tried before a run starts, so that what would go wrong later costs one line and no folder."""

from __future__ import annotations

import itertools
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from mmengine.config import Config

from ..config.data import config_data
from ..config.walk import components
from ..data.loader import build_dataset
from ..errors import MISTAKES, UserError, as_user_error
from ..registry import HOOKS, LOOPS, METRICS, MODELS, VISUALIZER_BACKENDS, VISUALIZERS, find_component

if TYPE_CHECKING:
    from .tasks import Task


def build_training_parts(cfg: Config, task: Task) -> None:
    """Build optimizer, schedule and hooks on a stand-in parameter, so that their complaints come early."""
    from .optim_wrapper import build_optim_wrappers, check_step
    from .replaced_hooks import check_hook
    from .schedules.build_schedulers import build_schedulers
    from .train_loop import check_length

    length = {key: cfg.train_cfg.get(key) for key in ('max_iters', 'max_epochs')}
    check_length(
        **length, **{key: cfg.train_cfg[key] for key in ('accumulate', 'val_interval') if key in cfg.train_cfg}
    )
    for key in ('train_cfg', 'val_cfg'):
        if cfg.get(key):
            LOOPS.resolve(cfg[key].get('type', 'TrainLoop'))
    visualizer = cfg.get('visualizer') or {}
    VISUALIZERS.resolve(visualizer.get('type', 'Visualizer'))
    for backend in visualizer.get('vis_backends') or ():
        VISUALIZER_BACKENDS.resolve(backend.get('type', ''))
    stand_in = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Linear(1, 1))
    optimizers = build_optim_wrappers(cfg.optim_wrapper, dict.fromkeys(task.parts(), stand_in))
    for wrapper in optimizers.values():
        check_step(wrapper.optimizer)
    if cfg.get('param_scheduler') is not None:
        built = build_schedulers(cfg.param_scheduler, dict(optimizers.items()), length['max_iters'] or 10**9, 1000)
        for scheduler in itertools.chain(*built.values()):
            scheduler.step()  # some look at their arguments only then
    for hook in (*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())):
        if hook is not None:
            check_hook(HOOKS.build({key: value for key, value in hook.items() if key != 'priority'}))


def preflight(cfg: Config, train: bool) -> None:
    """Find what would go wrong later, before a folder is made, and say it in one line; see `try_parts`."""
    try:
        try_parts(cfg, train)
    except UserError:
        raise
    except MISTAKES as error:
        raise as_user_error(error, 'this config cannot be used') from error


def try_parts(cfg: Config, train: bool) -> None:
    """Build what can be built without training: device, model, optimizer, schedule, hooks, metrics, data.

    A component of the model may have a static `preflight(cfg)` that looks for what it needs of this machine.

    Args:
        cfg: The config.
        train: Whether the training data is wanted too.

    Raises:
        UserError: One line that says what to mend.
    """
    from ..ops.distributed import choose_device

    for name in ('model', *(('train_dataloader', 'train_cfg', 'optim_wrapper') if train else ())):
        if not cfg.get(name):
            raise UserError(f"the config has no '{name}'; start from one of configs/, for example with base = '...'.")
    config_data(cfg.to_dict())  # complains of what the run's files could not keep
    choose_device(cfg.get('device', 'auto'))
    with torch.device('meta'):
        task = MODELS.build(cfg.model)
    if train:
        build_training_parts(cfg, task)
        if cfg.get('load_from') and not cfg.get('resume'):
            from .start_weights import find_start_weights

            find_start_weights(task, cfg.load_from, cfg.get('load_weights'))
        for _, node in components(cfg.model):
            check = getattr(find_component(node['type']), 'preflight', None)
            if check is not None:
                check(node)
    for metric in cfg.get('val_evaluator') or ():
        METRICS.build(metric)
    if Path(cfg.work_dir).is_file():
        raise UserError(f'the work dir {cfg.work_dir} is a file; choose another with --work-dir.')
    side = task.tokenizer.downsample_factor if hasattr(task, 'tokenizer') else 1
    for name in ('train_dataloader', 'val_dataloader') if train else ('val_dataloader',):
        if name == 'val_dataloader' and train and cfg.get('val_cfg') is None:
            continue  # nothing is evaluated while this trains
        if cfg.get(name) is None:
            advice = (
                '' if train else ' A generator is evaluated by its samples: tools/sample.py, then tools/evaluate.py.'
            )
            raise UserError(f'the config has no {name}.{advice}')
        dataset = build_dataset(cfg[name], cfg.randomness.get('seed') or 0)
        if len(cast(Sized, dataset)) == 0:
            raise UserError(f'{name}: the dataset is empty.')
        sample = dataset[0]
        if sample.get('error'):
            raise UserError(f'{name}: {sample["error"]}')
        image = sample.get('image')
        if image is not None and (image.shape[1] % side or image.shape[2] % side):
            height, width = image.shape[1:]
            raise UserError(
                f'{name}: images are {height}x{width}, the tokenizer needs sides that are multiples of {side}; '
                'change the crop.'
            )
