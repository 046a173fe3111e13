"""Saving and loading generators: `config.json` of registered names, `model.safetensors`, `README.md` for people, and the
tokenizer in a folder of its own."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from fvq_core import __version__
from fvq_core.errors import UserError, nearest_hint
from fvq_core.files.json import read_json_object
from fvq_core.files.paths import check_parents, expand_home
from fvq_core.files.safetensors import read_safetensors
from fvq_core.generator import Generator
from fvq_core.ops.finite import warn_of_weights
from fvq_core.registry import GENERATORS, describe
from fvq_core.registry.registered_names import by_name
from fvq_core.saving.model_card import LIBRARY, CardMetadata
from fvq_core.saving.pretrained import (
    CARD_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    build_skeleton,
    check_fit,
    load_weights,
    replace_folder,
    weights_digest,
)

from .model_card import generator_card

if TYPE_CHECKING:
    from fvq_core.tokenizer import Tokenizer

TOKENIZER_FOLDER = 'tokenizer'
OWN_KEYS = ('fvq_version', 'generator', 'tokenizer_hash', 'sampling', 'weights_digest')  # the rest are facts
# What `sampling` may hold, and what counts where neither the generator's config nor a caller says.
SAMPLING: dict[str, float | int | str] = dict(
    cfg_scale=1.0, temperature=1.0, top_k=0, top_p=1.0, cfg_interval=-1, cfg_schedule='constant'
)
KINDS = {
    dict: 'an object',
    str: 'text',
    int: 'a whole number',
    float: 'a finite number',
}
# Of the other keys of `config.json` that are read, and of the facts that a card prints in tables.
TYPES: dict[str, type] = dict(
    fvq_version=str, generator=dict, tokenizer_hash=str, weights_digest=str, metrics=dict, versions=dict
)
MEND = 'mend it, or save the generator again'


def save_generator(
    description: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    folder: str | Path,
    *,
    tokenizer_hash: str = '',
    sampling: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
    extra: Mapping[str, Any] | None = None,
    card: CardMetadata | None = None,
) -> Path:
    """Write a generator to a folder, all or nothing; an older one there is replaced.

    Args:
        description: What `fvq_core.registry.describe` says of the generator.
        weights: Its state dict.
        folder: Where to.
        tokenizer_hash: Whose codes it has learned (`fvq_core.saving.fingerprint`); '' where that is not known.
        sampling: Settings of `sample` that were found good, used where a caller gives none.
        tokenizer: Saved with it, folded.
        extra: JSON-ready facts to keep and to print on the card: `weights`, `metrics`, `seed`, `versions`.
        card: What the owner says on the card.

    Returns:
        The folder.

    Raises:
        UserError: The folder holds other files, or a fact has a key of ours.
    """
    folder = Path(expand_home(folder))
    refuse_foreign_folder(folder)
    taken = [key for key in OWN_KEYS if key in (extra or {})]
    if taken:
        raise UserError(f"save_generator: '{taken[0]}' is a key of {CONFIG_NAME} itself; name that fact otherwise.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}-'))
    try:
        staging.chmod(0o755)
        kept = {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}
        warn_of_weights(kept, folder)
        save_file(kept, staging / WEIGHTS_NAME, metadata={'format': 'pt'})
        config = {
            'fvq_version': __version__,
            'generator': by_name(dict(description)),
            'tokenizer_hash': tokenizer_hash,
            'sampling': dict(sampling or {}),
            'weights_digest': weights_digest(kept),
            **(extra or {}),
        }
        (staging / CONFIG_NAME).write_text(json.dumps(config, indent=2) + '\n')
        card = card or CardMetadata()
        parameters = sum(value.numel() for value in kept.values())
        text = generator_card(
            config, parameters, tokenizer is not None, replace(card, name=card.name or folder.as_posix())
        )
        (staging / CARD_NAME).write_text(text, encoding='utf-8')
        (staging / WEIGHTS_NAME).chmod((staging / CONFIG_NAME).stat().st_mode)
        if tokenizer is not None:
            tokenizer.fold().save_pretrained(staging / TOKENIZER_FOLDER)
        replace_folder(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def refuse_foreign_folder(folder: Path) -> None:
    """Only a folder that holds a saved generator, or nothing, is replaced.

    Raises:
        UserError: It holds something else.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = names - {CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, TOKENIZER_FOLDER}
    if not foreign and CARD_NAME in names:
        lines = (folder / CARD_NAME).read_text(encoding='utf-8', errors='replace').split('\n---\n')[0].splitlines()
        if lines[:1] != ['---'] or f'library_name: {LIBRARY}' not in lines:
            foreign.add(CARD_NAME)
    if not foreign and CONFIG_NAME in names:
        read_generator_config(folder)
    if folder.is_file() or foreign:
        raise UserError(f'{folder} exists and is not a saved generator; choose another folder.')
    check_parents(folder)


def read_generator_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a saved generator.

    Raises:
        UserError: There is none, it describes no generator, or a key holds what it cannot.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved generator: it has no {CONFIG_NAME}.')
    config = read_json_object(path, MEND)
    if 'generator' not in config:
        raise UserError(f'{path} describes no generator; a tokenizer is loaded with Tokenizer.from_pretrained.')
    for key, kind in TYPES.items():
        if key in config and not isinstance(config[key], kind):
            raise UserError(f"{path}: '{key}' is {short(config[key])}, expected {KINDS[kind]}; {MEND}.")
    check_sampling(config.get('sampling', {}), path)
    return config


def check_sampling(sampling: Any, where: str | Path) -> None:
    """Refuse what are no settings of `AutoregressiveImageModel.sample`.

    Args:
        sampling: As found in a file.
        where: The file.

    Raises:
        UserError: Naming file, key and value.
    """
    if not isinstance(sampling, Mapping):
        raise UserError(
            f'{where}: \'sampling\' is {short(sampling)}, expected {KINDS[dict]} such as {{"cfg_scale": 1.75}}; {MEND}.'
        )
    for key, value in sampling.items():
        if key not in SAMPLING:
            raise UserError(f"{where}: 'sampling' has an unknown setting '{key}'; {nearest_hint(str(key), SAMPLING)}")
        kind = type(SAMPLING[key])
        fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if not fits or (kind is float and not abs(value) <= sys.float_info.max):
            raise UserError(f"{where}: 'sampling.{key}' is {short(value)}, expected {KINDS[kind]}; {MEND}.")


def short(value: Any) -> str:
    """A value as a file has it, cut where it is long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f'{text[:60]}...'


def load_generator(folder: str | Path) -> tuple[Generator, dict[str, Any]]:
    """A saved generator in eval mode on the CPU, and its `config.json`.

    Raises:
        UserError: Broken files, unknown components, or weights of another config.
    """
    folder = Path(expand_home(folder))
    config = read_generator_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise UserError(f'{folder}: {WEIGHTS_NAME} is missing; save the generator again.')
    weights = read_safetensors(path, 'save the generator again')
    # On the meta device: start values would be overwritten, and take their time.
    skeleton = build_skeleton(GENERATORS.build, config['generator'], len(weights), str(folder / CONFIG_NAME))
    check_fit(skeleton, weights, str(path))
    generator = skeleton.to_empty(device='cpu')
    dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(dtypes) == 1:
        generator.to(dtypes.pop())
    load_weights(generator, weights, str(path))
    return generator.eval(), config


def checkpoint_generator(
    path: str | Path, weights: Literal['ema', 'raw'] | None = None
) -> tuple[Generator, dict[str, Any]]:
    """The generator of a Runner's `iter_N.pth`, and a config as `load_generator` gives it.

    Args:
        path: The checkpoint.
        weights: See `fvq_core.training.evaluation.load_task`.

    Raises:
        UserError: No checkpoint, one of something else, or with settings of sampling that are none.
    """
    # Imported here: a saved generator needs no runner.
    from fvq_core.training.checkpoint import read_checkpoint
    from fvq_core.training.evaluation import load_task

    checkpoint = read_checkpoint(path)
    task = load_task(checkpoint, str(path), weights=weights)
    generator = getattr(task, 'generator', None)
    if not isinstance(generator, Generator):
        raise UserError(f'{path} is a checkpoint of a {type(task).__name__}, not of a generator.')
    sampling = checkpoint.get('sampling', {})
    check_sampling(sampling, path)
    config = {
        'generator': describe(generator),
        'tokenizer_hash': checkpoint.get('tokenizer_hash', ''),
        'sampling': sampling,
        'weights': f'{path}{task.weights_note}',
    }
    return generator.eval(), config
