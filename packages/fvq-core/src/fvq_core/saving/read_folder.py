"""Reading a saved model, which is built of registered names only.

This imports `mmengine.registry` and the installed components: no runner, no plotting, no perceptual network.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from ..config.data import build_data
from ..errors import UserError, shortened
from ..files.format_version import check_format_version
from ..files.json import read_json_object
from ..files.paths import expand_home
from ..files.safetensors import read_safetensors
from .kind import CONFIG_NAME, KEY_TYPES, TYPE_NAMES, WEIGHTS_NAME, SavedKind
from .weights import build_skeleton, check_fit, materialize

INCLUDED = Path(str(files('fvq_core') / 'weights'))  # models that come with FVQ, each a folder by its name


def read_config(folder: str | Path, kind: SavedKind) -> dict[str, Any]:
    """The `config.json` of a saved model; raises if it is missing or not that of a model of this kind and version."""
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved {kind.name}: it has no {CONFIG_NAME}; {kind.remedy}.')
    config = read_json_object(path, kind.remedy)
    if kind.name not in config:
        raise UserError(f'{path} describes no {kind.name}; its keys are {", ".join(config)}.')
    check_format_version(config.get('format_version'), path, kind.remedy)
    for key, type_ in {**KEY_TYPES, kind.name: dict, **kind.keys}.items():
        if key in config and not isinstance(config[key], type_):
            found = shortened(config[key])
            raise UserError(f"{path}: '{key}' is {found}, expected {TYPE_NAMES[type_]}; {kind.remedy}.")
    return config


def load_folder(folder: str | Path, kind: SavedKind) -> tuple[Any, dict[str, Any]]:
    """The model of a folder, in eval mode on the CPU, and its `config.json`; raises if files are broken or do not fit."""
    folder = Path(expand_home(folder))
    config = read_config(folder, kind)
    path, source = folder / WEIGHTS_NAME, str(folder / CONFIG_NAME)
    if not path.is_file():
        raise UserError(f'{folder}: {WEIGHTS_NAME} is missing; {kind.remedy}.')
    weights = read_safetensors(path, kind.remedy)
    skeleton: nn.Module = build_skeleton(kind.registry.build, config[kind.name], len(weights), source)
    check_fit(skeleton, weights, str(path))
    model = materialize(skeleton, weights) if kind.init_on_meta else None
    if model is None:
        model = build_data(kind.registry.build, config[kind.name], source)
    model.load_state_dict(weights)
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
    """A folder that exists, or else a model of `INCLUDED`, or a repository of the Hugging Face hub in the local cache.

    The arguments are those of `SavedModel.from_pretrained`. Raises if there is none, or for a revision of a folder.
    """
    folder = Path(expand_home(source))
    if not folder.is_dir() and str(source) in {model.name for model in INCLUDED.iterdir()}:
        folder = INCLUDED / source
    if not folder.is_dir():
        from .hub import fetch  # a quarter of a second that a local folder does not need

        return fetch(source, kind, revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
    if revision is not None:
        raise UserError(f"'{source}' is a folder here, which has no revision '{revision}'; rename it or drop revision.")
    return folder
