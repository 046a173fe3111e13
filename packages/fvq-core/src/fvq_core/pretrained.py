"""Saving and loading tokenizers: `config.json` of registered names beside `model.safetensors`.

Loading imports `mmengine.registry` and the installed components, no runner, no plotting, no perceptual network.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from . import __version__
from .errors import UserError
from .registry import TOKENIZERS, describe

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

CONFIG_NAME, WEIGHTS_NAME = 'config.json', 'model.safetensors'


def save_pretrained(tokenizer: Tokenizer, folder: str | Path, extra: Mapping[str, Any] | None = None) -> Path:
    """Write a tokenizer to a folder, all or nothing; an older one there is replaced.

    Args:
        tokenizer: Built from a config; fold it first for inference.
        folder: Where to.
        extra: JSON-ready facts to keep beside the config: where the weights come from, metrics, protocol.

    Returns:
        The folder.
    """
    if not hasattr(tokenizer, 'component_config'):
        raise UserError('save_pretrained: this tokenizer was not built from a config; use TOKENIZERS.build(config).')
    folder = Path(folder)
    refuse_foreign_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}-'))
    try:
        staging.chmod(0o755)
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in tokenizer.state_dict().items()}
        save_file(weights, staging / WEIGHTS_NAME, metadata={'format': 'pt', 'fvq_version': __version__})
        config = {'fvq_version': __version__, 'tokenizer': describe(tokenizer), **(extra or {})}
        (staging / CONFIG_NAME).write_text(json.dumps(config, indent=2) + '\n')
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def refuse_foreign_folder(folder: Path) -> None:
    """A folder that holds anything but a saved tokenizer is never replaced."""
    if folder.is_file() or (folder.is_dir() and {p.name for p in folder.iterdir()} - {CONFIG_NAME, WEIGHTS_NAME}):
        raise UserError(f'{folder} exists and is not a saved tokenizer; choose another folder.')


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a saved tokenizer."""
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved tokenizer: it has no {CONFIG_NAME}; make one with tools/export.py.')
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f'{path} is not valid JSON: {error}') from error
    if 'tokenizer' not in config:
        raise UserError(f'{path} describes no tokenizer; its keys are {", ".join(config)}.')
    return config


def from_pretrained(folder: str | Path, device: str | torch.device = 'cpu') -> Tokenizer:
    """Load a saved tokenizer in eval mode.

    Raises:
        UserError: No such folder, broken files, unknown components, or weights of another config.
    """
    config = read_config(folder)
    tokenizer = TOKENIZERS.build(config['tokenizer'])
    path = Path(folder) / WEIGHTS_NAME
    if not path.is_file():
        raise UserError(f'{folder}: {WEIGHTS_NAME} is missing; export the tokenizer again.')
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} cannot be read as safetensors: {error}') from error
    load_weights(tokenizer, weights, str(path))
    return tokenizer.to(device).eval()


def load_weights(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        UserError: Naming the first keys or shapes that differ.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    shapes = [
        f'{key} is {tuple(weights[key].shape)} there and {tuple(own[key].shape)} here'
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]
    problems = [
        f'{len(keys)} {what} ({", ".join(keys[:2])}{", ..." if len(keys) > 2 else ""})'
        for what, keys in (('missing', missing), ('unexpected', unexpected), ('of another shape', shapes))
        if keys
    ]
    if problems:
        raise UserError(f'{source} holds weights of another model: {"; ".join(problems)}.')
    module.load_state_dict(dict(weights))
