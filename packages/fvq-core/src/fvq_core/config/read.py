"""Config files: found, read on top of their base, overridden, checked."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError
from ..files.paths import expand_home
from ..registry.argument_types import check
from .check import check_arguments, check_top_level
from .find import find_config
from .options import apply_options
from .sizes import use_size


def read_config_file(path: str, size: str | None = None) -> Config:
    """A config file at one of its sizes, on top of the config that its `base` names, if it names one.

    mmengine's own inheritance (`read_base`) works between files of one folder tree; `base = 'configs/...'` also works
    from another package. Dicts are merged; one with `_delete_=True` replaces what the base has.
    """
    cfg = read_on_base(path)
    use_size(cfg, size, path)
    return cfg


def read_on_base(path: str) -> Config:
    """See `read_config_file`; with its `sizes`."""
    file = find_config(path)
    try:
        cfg = Config.fromfile(str(file))
    except (Exception, SystemExit) as error:  # a config is a program that the user wrote: anything can go wrong in it
        raise UserError(f'config {file} cannot be loaded: {load_failure(error)}') from error
    if 'base' not in cfg:
        return cfg
    own = cfg.to_dict()
    check(own['base'], str, 'base')
    based = read_on_base(own.pop('base'))
    _drop_nones(based._cfg_dict, own)
    based.merge_from_dict(own)
    object.__setattr__(based, '_filename', str(file))
    return based


def load_failure(error: BaseException) -> str:
    """Why a config file did not load, and in which line."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == '<module>']
    own = [frame.lineno for frame in frames if 'mmengine' not in Path(frame.filename).parts]
    where = f'line {own[-1]}: ' if own else ''
    if isinstance(error, RuntimeError) and not str(error):  # how mmengine's lazy objects answer a call
        return f'{where}what a config imports is not imported yet while it loads, and cannot be called; write the value itself.'
    return f'{where}{type(error).__name__}: {" ".join(str(error).split())}'


def _drop_nones(base: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Remove what a base sets to None, such as a hook that is off, if a dict replaces it; raise if the base has a list."""
    for key, value in own.items():
        if isinstance(value, Mapping):
            if base.get(key, {}) is None:
                del base[key]
            elif isinstance(base.get(key), dict):
                _drop_nones(base[key], value)
            elif isinstance(base.get(key), list) and not all(index.isdecimal() for index in value):
                raise UserError(f'{key}: expected a list, as in the base of the config, got {value}.')


def load_config(
    path: str,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    seed: int | None = None,
    size: str | None = None,
) -> Config:
    """A config with overrides, checked.

    Args:
        path: A Python config.
        options: Overrides by dotted path, as in `{'train_cfg.max_iters': 10}`.
        work_dir: Where outputs go; `work_dirs/NAME_OF_THE_CONFIG`, or `NAME_SIZE`, by default.
        seed: Replaces the seed of the config.
        size: One of the config's `sizes`. Overrides have the last word.
    """
    cfg = read_config_file(path, size)
    apply_options(cfg, options or {})
    if seed is not None:
        cfg.randomness = dict(seed=seed)
    cfg.setdefault('randomness', dict(seed=0))
    name = Path(path).stem + (f'_{cfg.size}' if 'size' in cfg else '')
    # A folder may be called 2024, which --cfg-options parses as a number.
    cfg.work_dir = str(work_dir or cfg.get('work_dir') or Path('work_dirs') / name)
    try:
        expand_paths(cfg._cfg_dict)  # also imports the classes that a config names
    except ImportError as error:
        raise UserError(f'config {path}: {" ".join(str(error).split())}') from error
    check_top_level(cfg)
    check_arguments(cfg)
    return cfg


def expand_paths(node: Any) -> None:
    """Expand `~/...` anywhere in a config, in place; a shell does not do that inside KEY=VALUE or a file."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list):
            expand_paths(value)
        elif isinstance(value, str) and (value == '~' or value.startswith('~/')):
            node[key] = expand_home(value)
