"""Models by the names of their configs: `create_model('fvq_16k', pretrained='ada/fvq-16k')`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config.difference import ABSENT, differing, settings
from .config.find import config_names
from .config.read import read_config_file
from .config.walk import leaves
from .errors import UserError, nearest_hint
from .registry import GENERATORS, TOKENIZERS, by_name, describe
from .saving.kind import SavedKind
from .saving.read_folder import find_folder, load_folder

REGISTRIES = dict(tokenizer=TOKENIZERS, generator=GENERATORS)  # by the key of a config's `model`


def list_models(pattern: str = '*') -> list[str]:
    """The names of our configs, such as `fvq/fvq_16k`, sorted; a pattern (`fvq*`) is of all of a name or of its last part."""
    names = [name.removeprefix('configs/').removesuffix('.py') for name in config_names()]
    # A sweep is a grid of runs, not a model.
    models = [name for name in names if not any(part.startswith('sweep') for part in name.split('/'))]
    return [name for name in models if fnmatch(name, pattern) or fnmatch(Path(name).name, pattern)]


def create_model(
    name: str,
    pretrained: str | Path | bool | None = None,
    *,
    size: str | None = None,
    device: str | torch.device = 'cpu',
    **hub: Any,
) -> Any:
    """The tokenizer or generator that a config describes.

    Args:
        name: Name from `list_models`, its part after the last slash if only one config has that, or a path ending in `.py`.
        pretrained: A folder with the weights, or `user/name` of a repository on the Hugging Face hub; True for those that
            come with FVQ (`fvq_photos`). By default the model is untrained, in training mode.
        size: One of the config's `sizes`, such as `k4096` of the mini benchmark's.
        hub: Passed to `find_folder`: revision, cache_dir, token, local_files_only.

    Returns:
        With `pretrained` the model of the folder, in eval mode; a tokenizer is as it was saved, folded or not.

    Raises:
        UserError: No such config (with the nearest name), or the folder does not hold a model that it describes.
    """
    key, description = model_config(name, size)
    registry = REGISTRIES[key]
    build = functools.partial(registry.build, description)
    if not pretrained:
        return build().to(device)
    if pretrained is True:
        pretrained = Path(name).name
    class_ = registry.resolve(description['type'])
    kind = getattr(class_, 'saved_kind', SavedKind(key, registry, f'save the {key} again'))
    folder = find_folder(pretrained, kind, **hub)
    loaded = class_.from_folder(folder) if hasattr(class_, 'from_folder') else load_folder(folder, kind)[0]
    check_described(loaded, build, f'{pretrained} does not hold {name}')
    return loaded.to(device).eval()


def model_config(name: str, size: str | None = None) -> tuple[str, dict[str, Any]]:
    """Which model a config describes, a key of `REGISTRIES`, and its description; see `create_model`."""
    path = name if name.endswith('.py') else f'configs/{full_name(name)}.py'
    model = read_config_file(path, size).get('model', {})
    for key in REGISTRIES:
        if key in model:
            return key, model[key]
    raise UserError(f'config {path} describes no {" or ".join(REGISTRIES)}; name one of fvq_core.zoo.list_models().')


def full_name(name: str) -> str:
    """A name of `list_models`, from itself or from its last part; raises if there is none, or there are several."""
    models = list_models()
    found = [model for model in models if name in (model, Path(model).name)]
    if name in found or len(found) == 1:
        return name if name in found else found[0]
    if found:
        raise UserError(f"there are several models '{name}'; name one of {', '.join(found)}.")
    raise UserError(
        f"there is no model '{name}'; {nearest_hint(name, {*models, *(Path(model).name for model in models)})}"
    )


def check_described(loaded: nn.Module, build: Callable[[], Any], problem: str) -> None:
    """Raise if a loaded model is neither what `build` makes nor, for a tokenizer, the same folded.

    What a config leaves out counts as what its constructor takes by default. The message starts with `problem` and names the
    first argument that differs.
    """
    with torch.device('meta'):  # neither memory nor time for weights that are not wanted
        expected = build()
    found, wanted = settings(loaded), settings(expected)
    folds = found != wanted and hasattr(expected, 'fold')
    if found != wanted and not (folds and found == settings(build().fold())):
        key, values = next(iter(differing(found, wanted).items()))
        given = [leaves(by_name(describe(model))).get(key, ABSENT) for model in (loaded, expected)]
        there, here = given if given[0] != given[1] else values
        raise UserError(f'{problem}: {key} is {there} in the folder and {here} in the config.')
