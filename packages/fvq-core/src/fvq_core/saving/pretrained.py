"""Saving and loading tokenizers: `config.json` of registered names, `model.safetensors`, and `README.md` for people.

Loading imports `mmengine.registry` and the installed components, no runner, no plotting, no perceptual network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from .. import __version__
from ..config.data import Built, build_data
from ..errors import UserError
from ..files.json import read_json_object
from ..files.paths import check_parents, expand_home
from ..files.safetensors import read_safetensors
from ..ops.finite import check_finite_weights, warn_of_weights
from ..registry import TOKENIZERS, describe
from ..registry.registered_names import by_name
from .model_card import LIBRARY, CardMetadata, model_card

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

CONFIG_NAME, WEIGHTS_NAME, CARD_NAME = 'config.json', 'model.safetensors', 'README.md'
OWN_KEYS = ('fvq_version', 'tokenizer', 'weights_digest')  # of config.json; the rest are facts about the weights


def save_pretrained(
    tokenizer: Tokenizer,
    folder: str | Path,
    extra: Mapping[str, Any] | None = None,
    card: CardMetadata | None = None,
) -> Path:
    """Write a tokenizer to a folder, all or nothing; an older one there is replaced.

    Args:
        tokenizer: Built from a config; fold it first for inference.
        folder: Where to.
        extra: JSON-ready facts to keep beside the config and to print on the card: `weights` (where they come from),
            `metrics`, `seed`, `versions`. By default those that a loaded tokenizer came with, if its weights are
            still the same to the bit.
        card: What the owner says on the card: licence, data sets.

    Returns:
        The folder.

    Raises:
        UserError: The tokenizer was not built from a config, the folder holds other files, or a fact has a key of ours.
    """
    if not hasattr(tokenizer, 'component_config'):
        raise UserError('save_pretrained: this tokenizer was not built from a config; use TOKENIZERS.build(config).')
    folder = Path(expand_home(folder))
    refuse_foreign_folder(folder)
    taken = [key for key in OWN_KEYS if key in (extra or {})]
    if taken:
        raise UserError(f"save_pretrained: '{taken[0]}' is a key of {CONFIG_NAME} itself; name that fact otherwise.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}-'))
    try:
        staging.chmod(0o755)
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in tokenizer.state_dict().items()}
        warn_of_weights(weights, folder)
        # One entry: safetensors writes several in any order, and the same weights should give the same file.
        save_file(weights, staging / WEIGHTS_NAME, metadata={'format': 'pt'})
        digest = weights_digest(weights)
        if extra is None:
            loaded = getattr(tokenizer, 'loaded_facts', None)
            extra = loaded[1] if loaded and loaded[0] == digest else {}
        own = {'fvq_version': __version__, 'tokenizer': by_name(describe(tokenizer)), 'weights_digest': digest}
        config = {**own, **extra}
        (staging / CONFIG_NAME).write_text(json.dumps(config, indent=2) + '\n')
        card = card or CardMetadata()
        text = model_card(tokenizer, config, replace(card, name=card.name or folder.as_posix()))
        (staging / CARD_NAME).write_text(text, encoding='utf-8')
        # safetensors lets nobody but the owner read its file; a tokenizer is read by whoever may read the config.
        (staging / WEIGHTS_NAME).chmod((staging / CONFIG_NAME).stat().st_mode)
        replace_folder(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def replace_folder(folder: Path, staging: Path) -> None:
    """Put `staging` where `folder` is; at every moment one of the two is whole on the disk."""
    old = staging.with_name(f'{staging.name}-old')
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(staging, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def refuse_foreign_folder(folder: Path) -> None:
    """A folder that holds anything but a saved tokenizer is never replaced, nor is a README.md of one's own."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = names - {CONFIG_NAME, WEIGHTS_NAME, CARD_NAME}
    if CARD_NAME in names:
        metadata = (folder / CARD_NAME).read_text(encoding='utf-8', errors='replace').split('\n---\n')[0].splitlines()
        if metadata[:1] != ['---'] or f'library_name: {LIBRARY}' not in metadata:
            foreign.add(CARD_NAME)
    if folder.is_file() or foreign:
        raise UserError(f'{folder} exists and is not a saved tokenizer; choose another folder.')
    check_parents(folder)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """BLAKE2b, 128 bits, over names, types, shapes and bytes of tensors on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(weights.items()):
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a saved tokenizer."""
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved tokenizer: it has no {CONFIG_NAME}; make one with tools/export.py.')
    config = read_json_object(path, 'export the tokenizer again')
    if 'tokenizer' not in config:
        raise UserError(f'{path} describes no tokenizer; its keys are {", ".join(config)}.')
    return config


def from_pretrained(
    source: str | Path,
    device: str | torch.device = 'cpu',
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Tokenizer:
    """Load a saved tokenizer in eval mode.

    Args:
        source: A folder, or `user/name` of a repository on the Hugging Face hub; a folder that exists wins.
        device: Where to.
        revision: Branch, tag or commit of the repository; `main` by default.
        cache_dir: The hub's cache folder; by default huggingface_hub's.
        token: For private repositories; by default the one of `hf auth login` or `HF_TOKEN`.
        local_files_only: Take the repository from the cache without asking the hub.

    Raises:
        UserError: No such folder or repository, broken files, unknown components, or weights of another config.
    """
    folder = Path(expand_home(source))
    if not folder.is_dir():
        from .hub import fetch  # a quarter of a second that a local folder does not need

        folder = fetch(source, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only)
    elif revision is not None:
        raise UserError(f"'{source}' is a folder here, which has no revision '{revision}'; rename it or drop revision.")
    config = read_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise UserError(f'{folder}: {WEIGHTS_NAME} is missing; export the tokenizer again.')
    weights = read_safetensors(path, 'export the tokenizer again')
    described, source = config['tokenizer'], str(folder / CONFIG_NAME)
    check_fit(build_skeleton(TOKENIZERS.build, described, len(weights), source), weights, str(path))
    tokenizer = build_data(TOKENIZERS.build, described, source)
    load_weights(tokenizer, weights, str(path))
    facts = {key: value for key, value in config.items() if key not in OWN_KEYS}
    tokenizer.loaded_facts = (config.get('weights_digest'), facts)
    return tokenizer.to(device).eval()


def build_skeleton(build: Callable[[Any], Built], description: Any, tensors: int, source: str) -> Built:
    """What a file describes, on the meta device: a trillion codes cost nothing there, and are seen not to fit the weights.

    Args:
        build: See `build_data`.
        description: As it stands in the file.
        tensors: The number of tensors that came with it, which bounds the number of modules.
        source: The file of the description, for messages.

    Raises:
        UserError: See `build_data`; or more modules than so many tensors can belong to.
    """
    limit, count = 1_000 + 20 * tensors, 0

    def count_module(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise UserError(f'it describes more than {limit:,} modules, but its weights are {tensors:,} tensors.')

    handle = register_module_module_registration_hook(count_module)
    try:
        with torch.device('meta'):
            return build_data(build, description, source)
    finally:
        handle.remove()


def load_weights(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load a state dict that must fit exactly.

    Raises:
        UserError: See `check_fit`.
    """
    check_fit(module, weights, source)
    module.load_state_dict(dict(weights))


def check_fit(module: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Refuse a state dict that is not exactly the module's in keys and shapes, or not finite.

    Raises:
        UserError: Naming the first that differ.
        NonFiniteError: Naming the first tensor that holds NaN or infinite numbers.
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
    check_finite_weights(weights, source)
