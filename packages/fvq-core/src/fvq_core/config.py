"""Configs: loading, overriding from the command line, checking before anything is built or written."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from mmengine.config import Config, ConfigDict

from .config_data import config_data
from .config_files import find_config
from .data.loader import LOADER_KEYS, build_dataset
from .errors import UserError, nearest_hint
from .registry import (
    HOOKS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    build_component,
    constructor_arguments,
    find_component,
)

if TYPE_CHECKING:
    from .tasks import Task

# Keys that every builder takes beside the constructor's own arguments, and those of two builders of mmengine's.
BUILDER_KEYS = {'type', '_scope_'}
HOOK_KEYS, OPTIM_WRAPPER_KEYS = {'priority'}, {'constructor', 'paramwise_cfg', 'parts'}


def read_config_file(path: str) -> Config:
    """A config file as it is, on top of the config that its `base` names, if it names one.

    mmengine's own inheritance (`read_base`) works between files of one folder tree; `base = 'configs/...'` also works
    from another package. Dicts are merged; one with `_delete_=True` replaces what the base has.

    Raises:
        UserError: The file does not exist or fails to load.
    """
    file = find_config(path)
    try:
        cfg = Config.fromfile(str(file))
    except Exception as error:  # a config is a program: anything can go wrong in it, and the user wrote it
        reason = ' '.join(str(error).split())
        raise UserError(f'config {file} cannot be loaded: {type(error).__name__}: {reason}') from error
    if 'base' not in cfg:
        return cfg
    own = cfg.to_dict()
    based = read_config_file(own.pop('base'))
    _drop_nones(based._cfg_dict, own)
    based.merge_from_dict(own)
    object.__setattr__(based, '_filename', str(file))
    return based


def _drop_nones(base: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Remove what a base sets to None, such as a hook that is off, where a dict takes its place: mmengine refuses that."""
    for key, value in own.items():
        if isinstance(value, Mapping):
            if base.get(key, {}) is None:
                del base[key]
            elif isinstance(base.get(key), dict):
                _drop_nones(base[key], value)


def load_config(
    path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None, seed: int | None = None
) -> Config:
    """A config with overrides, checked.

    Args:
        path: A Python config.
        options: Overrides by dotted path, as in `{'train_cfg.max_iters': 10}`.
        work_dir: Where outputs go; `work_dirs/NAME_OF_THE_CONFIG` by default.
        seed: Replaces the config's.

    Raises:
        UserError: Unreadable config, unknown key or argument (with the nearest valid one).
    """
    cfg = read_config_file(path)
    apply_options(cfg, options or {})
    if seed is not None:
        cfg.randomness = dict(seed=seed)
    cfg.setdefault('randomness', dict(seed=0))
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    check_arguments(cfg)
    return cfg


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Put overrides into a config: those of a `type` first, outermost first, so that the others may be arguments of it.

    Args:
        cfg: Changed in place.
        options: By dotted path.

    Raises:
        UserError: A path that neither exists nor names an argument; see `check_option`.
    """
    types = [key for key in options if key.rpartition('.')[2] == 'type']
    for key in sorted(types, key=lambda key: key.count('.')):
        check_option(cfg, key)
        open_up(cfg, key)
        cfg.merge_from_dict({key: options[key]})
    others = {key: value for key, value in options.items() if key not in types}
    for key in others:
        check_option(cfg, key)
    for key in others:
        open_up(cfg, key)
    cfg.merge_from_dict(others)


def check_option(cfg: Config, dotted: str) -> None:
    """Refuse an override whose path neither exists nor names an argument that its component takes.

    Raises:
        UserError: With the nearest valid key.
    """
    node: Any = cfg._cfg_dict
    walked: list[str] = []
    for part in dotted.split('.'):
        if node is None:  # an argument that the config leaves at its default; `check_arguments` sees what is put there
            return
        where = '.'.join(walked) or 'the config'
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f"--cfg-options {dotted}: {where} is a list of {len(node)}; '{part}' is no index of it."
                )
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if walked and 'type' in node and find_component(node['type']) is None:
                return  # whoever builds it names the nearest type; there is nothing to say of its arguments
            valid = valid_keys(node, top=not walked)
            if part not in valid:
                raise UserError(f"--cfg-options {dotted}: {where} has no '{part}'; {nearest_hint(part, valid)}")
            node = node.get(part)
        else:
            raise UserError(f'--cfg-options {dotted}: {where} is {node!r} and has nothing inside.')
        walked.append(part)


def open_up(cfg: Config, dotted: str) -> None:
    """Put an empty dict where an override goes into something that the config leaves out (None)."""
    node: Any = cfg._cfg_dict
    for part in dotted.split('.')[:-1]:
        if not isinstance(node, dict):
            return
        if node.get(part, 0) is None:
            node[part] = ConfigDict()
        node = node.get(part)


def valid_keys(node: Mapping[str, Any], top: bool) -> set[str]:
    """Keys of a config node, and what its component's constructor (or the Runner, at the top) takes besides."""
    keys = set(node)
    if top:
        from .runner.runner import Runner

        keys |= set(inspect.signature(Runner.__bases__[0].__init__).parameters) - {'self'} | {'device'}
    elif 'dataset' in node:
        keys |= set(LOADER_KEYS)
    elif 'type' in node:
        component = find_component(node['type'])
        keys |= set(constructor_arguments(component) or {}) | builder_keys(component)
    return keys


def builder_keys(component: Any) -> set[str]:
    """What the config of a component may hold that is no argument of its constructor."""
    from mmengine.hooks import Hook
    from mmengine.optim import OptimWrapper

    special = ((Hook, HOOK_KEYS), (OptimWrapper, OPTIM_WRAPPER_KEYS))
    if not isinstance(component, type):
        return BUILDER_KEYS
    return BUILDER_KEYS.union(*(keys for base, keys in special if issubclass(component, base)))


def components(node: Any, path: str = '') -> Iterator[tuple[str, ConfigDict]]:
    """Every dict with a `type` below a node, outermost first, with its dotted path."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield path, cast(ConfigDict, node)
        for key in node:
            yield from components(node[key], f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from components(value, f'{path}.{index}')


def check_arguments(cfg: Config) -> None:
    """Refuse arguments that no constructor takes, everywhere in the config, before anything is built.

    Raises:
        UserError: With the nearest valid argument.
    """
    for path, node in components(cfg._cfg_dict):
        component = find_component(node['type'])
        accepted = None if component is None else constructor_arguments(component)
        if accepted is None:
            continue
        for key in node:
            if key not in accepted and key not in builder_keys(component):
                name = getattr(component, '__name__', component)
                raise UserError(f"{path}: {name} has no argument '{key}'; {nearest_hint(key, accepted)}")


def use_image_folder(loader: ConfigDict, folder: str) -> None:
    """Make an evaluation loader read a folder of images or tar files, with the config's own crop.

    Args:
        loader: `val_dataloader` of a config, changed in place.
        folder: See `source_config`.
    """
    from .data.image_source import source_config

    old = loader.dataset
    crop = dict(type='ADMCenterCrop', size=old.get('crop_size', 256), upsample=True)
    kept = {key: old[key] for key in ('exif_orientation',) if key in old}
    loader.dataset = ConfigDict(**source_config(folder), transforms=old.get('transforms', [crop]), **kept)


def build_training_parts(cfg: Config, task: Task) -> None:
    """Build optimizer, schedule and hooks on a stand-in parameter, so that their complaints come early."""
    from .runner.optim_wrapper import build_optim_wrappers
    from .runner.train_loop import check_length

    length = {key: cfg.train_cfg.get(key) for key in ('max_iters', 'max_epochs')}
    check_length(**length, accumulate=cfg.train_cfg.get('accumulate', 1))
    stand_in = torch.nn.Linear(1, 1)
    optimizers = build_optim_wrappers(cfg.optim_wrapper, dict.fromkeys(task.parts(), stand_in))
    optimizer = next(optimizers.values())
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list | tuple) else [schedulers]:
        build_component(scheduler, PARAM_SCHEDULERS, optimizer=optimizer, total_iters=length['max_iters'] or 1000)
    for hook in cfg.get('default_hooks', {}).values():
        if hook is not None:
            HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})


def preflight(cfg: Config, train: bool) -> None:
    """Find what would go wrong later, before a folder is made: device, model, data.

    A component of the model may have a static `preflight(cfg)` that looks for what it needs of this machine.

    Args:
        cfg: The config.
        train: Whether the training data is wanted too.

    Raises:
        UserError: One line that says what to mend.
    """
    from .runner.distributed import choose_device

    config_data(cfg.to_dict())  # complains of what the run's files could not keep
    choose_device(cfg.get('device', 'auto'))
    with torch.device('meta'):
        task = MODELS.build(cfg.model)
    if train:
        build_training_parts(cfg, task)
        if cfg.get('load_from') and not cfg.get('resume'):
            from .runner.start_weights import find_start_weights

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
