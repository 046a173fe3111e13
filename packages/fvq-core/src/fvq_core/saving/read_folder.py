"""Reading a saved model, which is built of registered names only.

This imports `mmengine.registry` and the installed components: no runner, no plotting, no perceptual network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from ..config.data import build_data
from ..errors import UserError
from ..files.format_version import check_format_version
from ..files.json import read_json_object
from ..files.paths import expand_home
from ..files.safetensors import read_safetensors
from .kind import CONFIG_NAME, KEY_TYPES, TYPE_NAMES, WEIGHTS_NAME, SavedKind
from .weights import build_skeleton, check_fit, load_weights, off_meta


def read_config(folder: str | Path, kind: SavedKind) -> dict[str, Any]:
    """The `config.json` of a saved model.

    Raises:
        UserError: There is none, it describes no model of this kind, is of another version, or a key holds what it cannot.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved {kind.name}: it has no {CONFIG_NAME}; {kind.remedy}.')
    config = read_json_object(path, kind.remedy)
    if kind.name not in config:
        raise UserError(f'{path} describes no {kind.name}; its keys are {", ".join(config)}.')
    check_format_version(config.get('format_version'), path, kind.remedy)
    for key, type_ in {**KEY_TYPES, kind.name: dict, **kind.keys}.items():
        if key in config and not isinstance(config[key], type_):
            raise UserError(
                f"{path}: '{key}' is {shortened(config[key])}, expected {TYPE_NAMES[type_]}; {kind.remedy}."
            )
    return config


def shortened(value: Any) -> str:
    """A value as a file has it, cut where it is long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f'{text[:60]}...'


def load_folder(folder: str | Path, kind: SavedKind) -> tuple[Any, dict[str, Any]]:
    """The model of a folder, in eval mode on the CPU, and its `config.json`.

    Raises:
        UserError: Broken files, unknown components, or weights of another config.
    """
    folder = Path(expand_home(folder))
    config = read_config(folder, kind)
    path, source = folder / WEIGHTS_NAME, str(folder / CONFIG_NAME)
    if not path.is_file():
        raise UserError(f'{folder}: {WEIGHTS_NAME} is missing; {kind.remedy}.')
    weights = read_safetensors(path, kind.remedy)
    skeleton: nn.Module = build_skeleton(kind.registry.build, config[kind.name], len(weights), source)
    check_fit(skeleton, weights, str(path))
    model = None
    if kind.skips_start_values:
        model = off_meta(skeleton, {value.dtype for value in weights.values() if value.is_floating_point()})
    if model is None:
        model = build_data(kind.registry.build, config[kind.name], source)
    load_weights(model, weights, str(path))
    return model.eval(), config


def find_folder(
    source: str | Path,
    kind: SavedKind,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """A folder that exists, or else the one in the local cache with a repository of the Hugging Face hub.

    Args:
        source: A folder, or `user/name` of a repository; a folder that exists wins.
        kind: What it should hold.
        revision: Branch, tag or commit of the repository; `main` by default.
        cache_dir: The hub's cache folder; by default huggingface_hub's.
        token: For private repositories; by default the one of `hf auth login` or `HF_TOKEN`.
        local_files_only: Take the repository from the cache without asking the hub.

    Raises:
        UserError: No such folder and no such repository, or a revision of a folder.
    """
    folder = Path(expand_home(source))
    if not folder.is_dir():
        from .hub import fetch  # a quarter of a second that a local folder does not need

        options: dict[str, Any] = dict(cache_dir=cache_dir, token=token, local_files_only=local_files_only)
        return fetch(source, kind, revision=revision, **options)
    if revision is not None:
        raise UserError(f"'{source}' is a folder here, which has no revision '{revision}'; rename it or drop revision.")
    return folder
