"""Whether a run may continue a checkpoint, and how it takes over its optimizers and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper

from ..config.data import from_data, read_config_data
from ..config.difference import REQUIRED_TO_RESUME, changes_on_resume
from ..errors import BAD_VALUE_ERRORS, UserError
from ..ops.global_batch import global_batch, split_batch
from .checkpoint import list_checkpoints, read_checkpoint

MAX_LISTED = 5


def check_resumable(
    path: Any, checkpoint: Mapping[str, Any], config: Mapping[str, Any], seed: int, elastic: bool = False
) -> str | None:
    """A warning in one line if the run will not end like one that never stopped; None if it will.

    A checkpoint carries no random state and no position in the data order: both follow from seed and iteration. Other
    settings may change, and the run goes on with the new ones.

    `config` is `config_data` of the run that continues it. Raises for weights only, another task, optimizer or seed, a
    damaged config, or without `elastic` for another number of processes.
    """
    meta = checkpoint.get('meta', {})
    if not {'optimizer', 'param_schedulers'} <= checkpoint.keys() or 'iter' not in meta:
        raise UserError(f'{path} holds weights only and cannot be resumed; use load_from={path} to start from them.')
    if type(meta['iter']) is not int or meta['iter'] < 0 or type(meta.get('seed')) is not int:
        raise UserError(f"{path}: 'iter' or 'seed' in 'meta' is not a whole number, which no run writes.")
    afresh = f'load_from={path} starts from its weights'
    saved = read_config_data(meta.get('config'), str(path), afresh).to_dict()
    differences = changes_on_resume(saved, from_data(config))
    for key, (old, new) in differences.items():
        if REQUIRED_TO_RESUME.fullmatch(key):
            raise UserError(f'{path} was written with {key}={old}, this run has {new}; {afresh}; keep it to resume.')
    if meta['seed'] != seed:
        raise UserError(f'{path} was made with seed {meta["seed"]}, this run has {seed}; pass --seed {meta["seed"]}.')
    world_size = get_world_size()
    if (before := meta.get('world_size', world_size)) != world_size:
        if not elastic:
            raise UserError(
                f'{path} was written by {before} processes, this run has {world_size}; start {before}, or add '
                '--resume-elastic, which keeps the batch of an iteration but not every bit.'
            )
        images = global_batch(saved, before), global_batch(from_data(config), world_size)
        batch = {'images an iteration': images} if images[0] != images[1] else {}
        differences = {'processes': (before, world_size), **batch, **differences}
    if not differences:
        return None
    listed = [f'{key} {new!s:.40} (was {old!s:.40})' for key, (old, new) in differences.items()]
    more = f', and {len(listed) - MAX_LISTED} more' if len(listed) > MAX_LISTED else ''
    return f'this run will not end like the one that wrote {path}: {", ".join(listed[:MAX_LISTED])}{more}.'


def keep_global_batch(cfg: Config) -> None:
    """Set `batch_size` and `accumulate` so that an iteration has the images of the checkpoint that is resumed.

    With a number of processes that does not divide them, both stay, and `check_resumable` says what differs.
    """
    path = Path(cfg.resume) if isinstance(cfg.resume, str) else next(iter(list_checkpoints(cfg.work_dir)), None)
    if path is None:
        return
    meta = read_checkpoint(path).get('meta', {})
    saved = read_config_data(meta.get('config'), str(path), f'load_from={path} starts from its weights').to_dict()
    size, accumulate = split_batch(cfg.to_dict(), global_batch(saved, meta.get('world_size', 1)), get_world_size())
    cfg.train_dataloader.batch_size, cfg.train_cfg.accumulate = size, accumulate


def resume_optimizer(wrapper: OptimWrapper, state: Mapping[str, Any], source: str) -> None:
    """Load the state of an optimizer; its settings, such as weight decay, stay those of the present config.

    A setting that a schedule changes goes on from its saved value, scaled if its initial value differs. Raises if the
    state is of other parameters, groups or precision.
    """
    fresh = [{key: value for key, value in group.items() if key != 'params'} for group in wrapper.param_groups]
    try:
        wrapper.load_state_dict(dict(state))
    except BAD_VALUE_ERRORS as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'{source} holds an optimizer of other parameters, groups or precision ({reason}); load_from={source} starts from '
            'its weights.'
        ) from error
    for group, settings in zip(wrapper.param_groups, fresh, strict=True):
        for key, value in settings.items():
            initial = f'initial_{key}'
            if key == 'betas' and 'initial_momentum' in settings:
                continue  # they follow the momentum
            if initial not in settings:
                group[key] = value
            elif group.get(initial) and group[initial] != settings[initial]:
                group[key] *= settings[initial] / group[initial]
        group.update({key: value for key, value in settings.items() if key.startswith('initial_')})


def resume_schedulers(schedulers: Mapping[str, list[Any]], states: Mapping[str, Any], source: str) -> None:
    """Set schedulers to the positions saved in a checkpoint; raises if they are other schedulers."""
    for part, own in schedulers.items():
        saved = states.get(part, [])
        if len(saved) != len(own):
            raise UserError(
                f'{source} holds {len(saved)} scheduler(s) of the {part}, this run has {len(own)}; keep param_scheduler, or '
                f'start from the weights with load_from={source}.'
            )
        for scheduler, state in zip(own, saved, strict=True):
            scheduler.load_state_dict(state)
