"""Configs: loading, overriding from the command line, checking before anything is built or written."""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmengine.config import Config, ConfigDict

from ..data.loader import LOADER_KEYS
from ..errors import UserError, nearest_hint
from ..files.paths import expand_home
from ..registry import constructor_arguments, find_component
from ..registry.argument_types import check, check_types
from .find import find_config

if TYPE_CHECKING:
    pass

# Keys that every builder takes beside the constructor's own arguments, and those of two builders of mmengine's.
BUILDER_KEYS = {'type', '_scope_'}
# Entries of a config that a Runner reads, and their types.
TOP_LEVEL: dict[str, Any] = dict(
    model=Mapping,
    train_dataloader=Mapping | None,
    val_dataloader=Mapping | None,
    train_cfg=Mapping | None,
    val_cfg=Mapping | None,
    optim_wrapper=Mapping | None,
    param_scheduler=Mapping | Sequence[Mapping] | None,
    val_evaluator=Sequence[Mapping] | None,
    default_hooks=Mapping | None,
    custom_hooks=Sequence[Mapping] | None,
    auto_scale_lr=Mapping | None,
    visualizer=Mapping | None,
    env_cfg=Mapping,
    randomness=Mapping,
    work_dir=str,
    device=str,
    launcher=str,
    log_level=int | str,
    load_from=str | None,
    resume=bool,
    default_scope=str | None,
    base=str,
)
RANDOMNESS: dict[str, Any] = dict(seed=int | None, deterministic=bool | None, diff_rank_seed=bool | None)
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
        raise UserError(f'config {file} cannot be loaded: {load_failure(error)}') from error
    if 'base' not in cfg:
        return cfg
    own = cfg.to_dict()
    based = read_config_file(own.pop('base'))
    _drop_nones(based._cfg_dict, own)
    based.merge_from_dict(own)
    object.__setattr__(based, '_filename', str(file))
    return based


def load_failure(error: Exception) -> str:
    """Why a config file did not load, and in which line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame.lineno for frame in frames if frame.name == '<module>' and 'mmengine' not in Path(frame.filename).parts
    ]
    where = f'line {own[-1]}: ' if own else ''
    if isinstance(error, RuntimeError) and not str(error):  # how mmengine's lazy objects answer a call
        return f'{where}what a config imports is not imported yet while it loads, and cannot be called; write the value itself.'
    return f'{where}{type(error).__name__}: {" ".join(str(error).split())}'


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
    # A folder may be called 2024, which --cfg-options takes for a number.
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or Path('work_dirs') / Path(path).stem)
    try:
        expand_paths(cfg._cfg_dict)  # also imports the classes that a config names
    except ImportError as error:
        raise UserError(f'config {path}: {" ".join(str(error).split())}') from error
    check_top_level(cfg)
    check_arguments(cfg)
    return cfg


def expand_paths(node: Any) -> None:
    """Expand `~/...` wherever a config has it, in place: a shell does that, but not inside KEY=VALUE or a file."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list):
            expand_paths(value)
        elif isinstance(value, str) and (value == '~' or value.startswith('~/')):
            node[key] = expand_home(value)


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Put overrides into a config: those of a `type` first, outermost first, so that the others may be arguments of it.

    Args:
        cfg: Changed in place.
        options: By dotted path.

    Raises:
        UserError: A path that neither exists nor names an argument; see `check_option`.
    """
    types = [key for key in options if key.rpartition('.')[2] == 'type']
    others = [key for key in options if key not in types]
    for key in sorted(types, key=lambda key: key.count('.')):
        check_option(cfg, key)
        set_option(cfg, key, options[key])
    for key in others:
        check_option(cfg, key)
    for key in others:
        set_option(cfg, key, options[key])


def set_option(cfg: Config, dotted: str, value: Any) -> None:
    """Put a value where a dotted path points. A dict is merged with one that is there; anything else takes its place.

    Empty dicts are put into what the config leaves out (None) on the way.
    """
    node: Any = cfg._cfg_dict
    *parents, last = dotted.split('.')
    for part in parents:
        key: Any = int(part) if isinstance(node, list) else part
        inside = node[key] if isinstance(node, list) else node.get(key)
        if inside is None or isinstance(inside, tuple):
            node[key] = ConfigDict() if inside is None else list(inside)
            inside = node[key]
        node = inside
    key = int(last) if isinstance(node, list) else last
    if isinstance(value, Mapping) and not isinstance(node, list) and isinstance(node.get(key), dict):
        cfg.merge_from_dict({dotted: value})
    else:
        node[key] = ConfigDict(value) if isinstance(value, Mapping) else value


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


def valid_keys(node: Mapping[str, Any], top: bool) -> set[str]:
    """Keys of a config node, and what its component's constructor (or the Runner, at the top) takes besides."""
    keys = set(node)
    if top:
        from ..training.runner import Runner

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


def check_top_level(cfg: Config) -> None:
    """Raise if an entry is not of the type that it must be.

    Raises:
        UserError: Naming it.
    """
    for key, hint in TOP_LEVEL.items():
        if key in cfg:
            check(cfg[key], hint, key)
    check((cfg.get('visualizer') or {}).get('vis_backends'), Sequence[Mapping] | None, 'visualizer.vis_backends')
    level = cfg.get('log_level', 'INFO')
    if level not in logging.getLevelNamesMapping() and not (isinstance(level, int) and level >= 0):
        raise UserError(
            f"log_level: '{level}' is not a level; {nearest_hint(str(level), logging.getLevelNamesMapping())}"
        )
    for key, hint in RANDOMNESS.items():
        check(cfg.get('randomness', {}).get(key), hint, f'randomness.{key}')
    if not 0 <= (cfg.get('randomness', {}).get('seed') or 0) < 2**32:
        raise UserError(f'randomness.seed: expected 0 to 2**32 - 1, got {cfg.randomness.seed}.')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        check(hook, Mapping | None, f'default_hooks.{name}')


def check_arguments(cfg: Config) -> None:
    """Refuse arguments that no constructor takes, and values of another type, before anything is built.

    Raises:
        UserError: With the nearest valid argument, or with the type that is expected.
    """
    for path, node in components(cfg._cfg_dict):
        check(node['type'], str | type, f'{path}.type')
        component = find_component(node['type'])
        accepted = None if component is None else constructor_arguments(component)
        if accepted is None:
            continue
        check_types(component, node, path)
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
    from ..data.image_source import source_config

    old = loader.dataset
    crop = dict(type='ADMCenterCrop', size=old.get('crop_size', 256), upsample=True)
    kept = {key: old[key] for key in ('exif_orientation',) if key in old}
    loader.dataset = ConfigDict(**source_config(folder), transforms=old.get('transforms', [crop]), **kept)
