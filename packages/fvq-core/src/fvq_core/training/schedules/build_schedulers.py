"""The schedulers of one optimizer from a config: ours, which know the length of the run, and mmengine's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ...errors import UserError, nearest_hint, user_errors
from ...registry import PARAM_SCHEDULERS, build_component
from ...registry.argument_types import check
from .run_lr import POSITION, RunLR


def build_schedulers(
    config: Any, optimizers: Mapping[str, Any], total_iters: int, iters_per_epoch: int
) -> dict[str, list[_ParamScheduler]]:
    """The schedulers of each optimizer; all step once an iteration.

    A scheduler of mmengine ends with the run if it has no `end`; with `convert_to_iter_based=True` it counts epochs.

    Args:
        config: `param_scheduler` of a config: one or a list for all parts, or a dict of either by part.
        optimizers: The optimizer's wrapper of each part of the task.
        total_iters: Length of the run.
        iters_per_epoch: Iterations of one pass over the training set, rounded.
    """
    by_part = isinstance(config, Mapping) and 'type' not in config
    built: dict[str, list[_ParamScheduler]] = {}
    for part, optimizer in optimizers.items():
        if by_part and part not in config:
            raise UserError(f"param_scheduler: nothing for the part '{part}'; {nearest_hint(part, config)}")
        configs = config[part] if by_part else config
        configs = configs if isinstance(configs, list | tuple) else [configs]
        built[part] = [build_scheduler(each, optimizer, total_iters, iters_per_epoch) for each in configs]
        rates = [scheduler for scheduler in built[part] if scheduler.param_name == 'lr']
        whole_run = [type(scheduler).__name__ for scheduler in rates if isinstance(scheduler, RunLR)]
        if whole_run and len(rates) > 1:
            raise UserError(
                f'param_scheduler: {whole_run[0]} sets the rate of the whole run and takes no other beside it.'
            )
        # A discriminator's optimizer does not step before its start, while its schedule goes on; without this mmengine would
        # warn about the order of `step` calls.
        optimizer._global_step = 0
    return built


def build_scheduler(config: Any, optimizer: Any, total_iters: int, iters_per_epoch: int) -> _ParamScheduler:
    """One scheduler of one optimizer; see `build_schedulers`."""
    if not isinstance(config, Mapping) or 'type' not in config:
        return build_component(config, PARAM_SCHEDULERS)  # raises, naming what is missing
    component = PARAM_SCHEDULERS.resolve(config['type'])
    name = getattr(component, '__name__', str(component))
    if not (isinstance(component, type) and issubclass(component, _ParamScheduler)):
        raise UserError(
            f"param_scheduler: {name} is not a scheduler of mmengine's kind; mmengine has most of torch's, such as "
            "type='CosineAnnealingLR'."
        )
    if issubclass(component, RunLR):
        return build_component(config, PARAM_SCHEDULERS, optimizer=optimizer, total_iters=total_iters)
    if getattr(component, 'need_val_args', False):
        raise UserError(
            f'param_scheduler: {name} waits for a metric of each epoch, and runs are counted in iterations; use one that '
            'follows the iteration, such as CosineAnnealingLR.'
        )
    arguments = {key: value for key, value in config.items() if key not in ('type', '_scope_')}
    if of_mmengine(component):  # constructors that pass `**kwargs` on to those of their bases
        constructors = [vars(kind)['__init__'] for kind in component.__mro__ if '__init__' in vars(kind)]
        accepted = {name for each in constructors for name in inspect.signature(each).parameters}
        implied = {'param_name'} - inspect.signature(component).parameters.keys()  # by those of the learning rate
        accepted = accepted - {'self', 'optimizer', 'args', 'kwargs'} - implied | {'convert_to_iter_based'}
        for key in arguments:
            if key not in accepted:
                raise UserError(
                    f"param_scheduler: {name} has no argument '{key}', which may come from the config's base (_delete_=True "
                    f'leaves that out); {nearest_hint(key, accepted)}'
                )
    build, converts = cast(Any, component), arguments.pop('convert_to_iter_based', False)
    step = float if converts else int  # mmengine compares, and what never equals a step changes nothing
    hints: dict[str, Any] = dict(step_size=step, milestones=Sequence[step], periods=Sequence[step])
    for key in hints.keys() & arguments:
        check(arguments[key], hints[key], f'param_scheduler.{key}')
    if converts:
        # mmengine multiplies, and cuts to an integer.
        arguments.setdefault('end', (total_iters + 0.5) / iters_per_epoch)
        arguments['epoch_length'] = iters_per_epoch
        build = build.build_iter_from_epoch
    elif arguments.get('by_epoch', True):
        raise UserError(
            f'param_scheduler: {name} counts epochs unless it is told otherwise; write by_epoch=False and give steps in '
            'iterations, or convert_to_iter_based=True for steps in epochs.'
        )
    else:
        arguments.setdefault('end', total_iters)
    with user_errors(f'param_scheduler: {name}'):
        return build(optimizer, **arguments)


def of_mmengine(component: type) -> bool:
    return component.__module__.partition('.')[0] == 'mmengine'


def scheduler_state(scheduler: _ParamScheduler) -> dict[str, Any]:
    """The position of a scheduler, for a checkpoint. Its shape and length are those of the run that resumes."""
    state = scheduler.state_dict()
    if of_mmengine(type(scheduler)):
        return {key: state[key] for key in POSITION}  # all else follows from its arguments
    return state
