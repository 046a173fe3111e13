"""Writing a saved model: all or nothing, and never over anything else."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from .. import __version__
from ..errors import UserError
from ..files.format_version import FORMAT_VERSION
from ..files.json import read_json
from ..files.paths import check_parents, expand_home
from ..ops.finite import warn_of_weights
from ..registry import by_name
from .kind import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME, SavedKind, SaveSpec
from .model_card import LIBRARY, CardMetadata, model_card
from .weights import weights_digest


def save_folder(
    spec: SaveSpec, folder: str | Path, extra: Mapping[str, Any] | None = None, card: CardMetadata | None = None
) -> Path:
    """Write a model to a folder, all or nothing; one of its kind is overwritten, other files raise. Returns the folder.

    Args:
        extra: JSON-ready facts to keep beside the config and to print on the card: `weights` (where they come from),
            `metrics`, `seed`, `versions`. By default those that a loaded model came with, if its weights are still the
            same to the bit.
        card: What the owner says on the card: licence, data sets.
    """
    kind, folder = spec.kind, Path(expand_home(folder))
    refuse_foreign_folder(folder, kind)
    if taken := [key for key in extra or {} if key in kind.own_keys]:
        raise UserError(f"save_pretrained: '{taken[0]}' is a key of {CONFIG_NAME} itself; name that fact otherwise.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f'.{folder.name}-'))
    try:
        staging.chmod(0o755)
        # Contiguous copies on the CPU that share no memory, as safetensors wants them.
        weights = {key: value.detach().cpu().contiguous().clone() for key, value in spec.weights.items()}
        warn_of_weights(weights, folder)
        # One entry: safetensors writes several in any order, and the same weights should give the same file.
        save_file(weights, staging / WEIGHTS_NAME, metadata={'format': 'pt'})
        digest = weights_digest(weights)
        if extra is None:
            extra = spec.loaded_facts[1] if spec.loaded_facts[0] == digest else {}
        config: dict[str, Any] = {
            'format_version': FORMAT_VERSION,
            'fvq_version': __version__,
            kind.name: by_name(dict(spec.description)),
            **spec.keys,
            'weights_digest': digest,
            **extra,
        }
        (staging / CONFIG_NAME).write_text(json.dumps(config, indent=2) + '\n')
        name = (card and card.name) or folder.as_posix()
        text = model_card(spec.card(name), config, config[kind.name], replace(card or CardMetadata(), name=name))
        (staging / CARD_NAME).write_text(text, encoding='utf-8')
        # safetensors lets nobody but the owner read its file; a model is read by whoever may read the config.
        (staging / WEIGHTS_NAME).chmod((staging / CONFIG_NAME).stat().st_mode)
        for part, save in spec.parts.items():
            save(staging / part)
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


def refuse_foreign_folder(folder: Path, kind: SavedKind) -> None:
    """Raise a `UserError` if a folder holds anything but a saved model of this kind, or a README.md of one's own."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    foreign = names - {CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, *kind.parts}
    if CARD_NAME in names:
        metadata = (folder / CARD_NAME).read_text(encoding='utf-8', errors='replace').split('\n---\n')[0].splitlines()
        if metadata[:1] != ['---'] or f'library_name: {LIBRARY}' not in metadata:
            foreign.add(CARD_NAME)
    config = read_json(folder / CONFIG_NAME) or {} if CONFIG_NAME in names else {}
    if config and kind.name not in config:
        raise UserError(f'{folder / CONFIG_NAME} describes no {kind.name}; choose another folder.')
    if folder.is_file() or foreign:
        raise UserError(f'{folder} exists and is not a saved {kind.name}; choose another folder.')
    for name, part in kind.parts.items():
        if name in names:
            refuse_foreign_folder(folder / name, part)
    check_parents(folder)
